package tests_test

import "testing"

// TestIDsThatStepsHaveNoPlaceFor names the ID, the map and what to do, wherever the ID is asked for.
func TestIDsThatStepsHaveNoPlaceFor(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "key", "k")
		for name, step := range map[string]string{
			"cache":  "RUN --mount=type=cache,uid=4000000000,target=/c true",
			"secret": "RUN --mount=type=secret,id=k,uid=4000000000 true",
			"user":   "USER 4000000000\nRUN true",
			"group":  "RUN --mount=type=cache,gid=4000000000,target=/c true",
		} {
			s.write(t, "ctx/"+name, "FROM base\n"+step+"\n")
			build := []string{"build", "--no-cache", "--secret=id=k,src=" + s.path("key"), "-f", "ctx/" + name, "ctx"}
			kind := "uid"
			if name == "group" {
				kind = "gid"
			}
			want, hint, code := "container "+kind+" 4000000000 has no host ID (the map is 0 ", "run as root: usermod --add-sub",
				125
			if m.root() {
				build = append(build, "--uidmap=0:500000:100")
				hint, code = "hint: the map of RUN steps has to have the ID", 1
			}
			s.cooper(t, build...).fails(t, code, want, hint)
		}
		s.write(t, "ctx/small", "FROM base\nUSER 400\nRUN true\n")
		first := map[bool]string{true: "500000", false: "1"}[m.root()]
		s.cooper(t, "build", "--no-cache", "--uidmap=0:"+first+":100", "-f", "ctx/small", "ctx").fails(t, 1,
			"container uid 400 has no host ID (the map is 0 "+first+" 100)", "IDs 0 to 400 are a range of length 401")
		s.checkNoLeftovers(t)
	})
}
