package tests_test

import (
	"slices"
	"strings"
	"testing"
)

// TestImagesArePulledByTheVerb pulls from a registry what cooper and skopeo have pushed to it.
func TestImagesArePulledByTheVerb(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, stop := s.startRegistry(t)
		s.write(t, "one/Containerfile", "FROM scratch\nCOPY f /\nARG N\nLABEL n=$N\n")
		s.write(t, "one/f", "f")
		one := strings.TrimPrefix(s.build(t, "-t", address+"/lib/app:1", "one"), "sha256:")
		two := strings.TrimPrefix(s.build(t, "-t", address+"/lib/app:2", "--build-arg", "N=2", "one"), "sha256:")
		s.build(t, "-t", address+"/lib/many:1", "--platform", "linux/amd64,linux/arm64,linux/s390x", "one")
		s.mustCooper(t, "push", "-q", "--tls-verify=false", "--all-tags", address+"/lib/app")
		s.mustCooper(t, "push", "-q", "--tls-verify=false", address+"/lib/many:1")
		other := newSite(t, m)
		pull := func(args ...string) []string {
			return strings.Fields(other.mustCooper(t, append([]string{"pull", "-q", "--tls-verify=false"}, args...)...))
		}
		if ids := pull(address+"/lib/app:2", "docker://"+address+"/lib/app:1"); !slices.Equal(ids, []string{two, one}) {
			t.Errorf("pulled %q, not %q", ids, []string{two, one})
		}
		if id, _ := other.idAndDigest(t, address+"/lib/app:1"); id != one {
			t.Errorf("podman sees %s", id)
		}
		other.mustCooper(t, "rmi", "--all")
		if ids := pull("--all-tags", address+"/lib/app"); !slices.Equal(ids, []string{one, two}) {
			t.Errorf("all tags are %q", ids)
		}
		// Of several platforms an index.
		name := address + "/lib/many:1"
		ids := pull("--platform", "linux/amd64", "--platform", "linux/s390x", name)
		for _, arch := range []string{"amd64", "s390x"} {
			got := other.mustCooper(t, "inspect", "-f", "{{.Architecture}}", "--platform", "linux/"+arch, name)
			if strings.TrimSpace(got) != arch {
				t.Errorf("for %s there is %s", arch, got)
			}
		}
		if out := other.run(t, "podman", "manifest", "inspect", name); strings.Count(out, `"architecture"`) != 2 || len(ids) != 1 {
			t.Errorf("podman sees %s, pulled was %q", out, ids)
		}
		if r := other.cooper(t, "pull", "--tls-verify=false", "--platform", "linux/riscv64", name); r.Code != 1 ||
			!strings.Contains(r.Stderr, "riscv64") {
			t.Errorf("a platform that isn't there: %d, %s", r.Code, r.Stderr)
		}
		// Files, as podman names them.
		s.mustCooper(t, "save", "-q", "-o", s.path("d.tar"), address+"/lib/app:1", address+"/lib/app:2")
		s.mustCooper(t, "save", "-q", "--format", "oci-dir", "-o", s.path("layout"), address+"/lib/app:1")
		s.run(t, "chmod", "-R", "a+rX", s.path("layout"), s.path("d.tar"))
		for from, want := range map[string][]string{
			"docker-archive:" + s.path("d.tar"):                                {one, two},
			"docker-archive:" + s.path("d.tar") + ":" + address + "/lib/app:2": {two},
			"oci:" + s.path("layout") + ":1":                                   {one},
		} {
			other.mustCooper(t, "rmi", "--all")
			if got := pull(from); !slices.Equal(got, want) {
				t.Errorf("%s gives %q, not %q", from, got, want)
			}
		}
		pull("--policy", "missing", address+"/lib/app:1")
		stop()
		pull("--policy", "missing", address+"/lib/app:1")
		pull("--policy", "newer", address+"/lib/app:1")
		for args, says := range map[string]string{
			"--policy=always --retry=0 " + address + "/lib/app:1": "pull " + address + "/lib/app:1",
			"--policy=never " + address + "/lib/none":             "no such image in the store",
			"--retry=0 --all-tags " + address + "/lib/app":        "tags of " + address + "/lib/app",
			"oci-archive:" + s.path("none.tar"):                   "no such file",
			"docker-archive:" + s.path("d.tar") + ":none":         "has no image none, it has",
		} {
			r := other.cooper(t, append([]string{"pull", "-q", "--tls-verify=false"}, strings.Fields(args)...)...)
			if r.Code != 1 || !strings.Contains(r.Stderr, says) {
				t.Errorf("pull %s: status %d, %s", args, r.Code, r.Stderr)
			}
		}
		other.checkNoLeftovers(t)
	})
}
