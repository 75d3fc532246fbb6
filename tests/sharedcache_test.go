package tests_test

import (
	"strings"
	"testing"
)

// TestAnotherMachineStartsWarm has two stores share what steps have made through a registry, and through a directory.
func TestAnotherMachineStartsWarm(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		first := newSite(t, m)
		address, _ := first.startRegistry(t)
		first.busybox(t, "base")
		first.build(t, "-t", address+"/lib/base:1", "--push", "--tls-verify=false", "busybox")
		file := "FROM " + address + "/lib/base:1 AS tools\nRUN echo tool >/tool\n" +
			"FROM " + address + "/lib/base:1\nCOPY source /source\nRUN echo built >/built && chown 1:1 /built\n" +
			"COPY --from=tools /tool /tool\nRUN true\nCOPY last /last\n"
		for _, s := range []*site{first, newSite(t, m)} {
			s.write(t, "ctx/Containerfile", file)
			s.write(t, "ctx/source", "source")
			s.write(t, "ctx/last", "last")
		}
		registry, dir := "type=registry,ref="+address+"/lib/cache:1", first.path("cache")
		want := first.build(t, "--tls-verify=false", "--cache-to", registry+",mode=max", "--cache-to",
			"type=local,dest="+dir+",mode=max", "ctx")
		for _, from := range []string{registry, "type=local,src=" + dir, address + "/lib/none," + address + "/lib/cache:1"} {
			s := newSite(t, m)
			s.write(t, "ctx/Containerfile", file)
			s.write(t, "ctx/source", "source")
			s.write(t, "ctx/last", "last")
			got := s.cooper(t, "build", "--tls-verify=false", "--progress=plain", "--cache-from", from, "ctx")
			if got.Code != 0 || !strings.Contains(got.Stdout, want) {
				t.Errorf("from %s it is %q and not %q, with status %d:\n%s", from, got.Stdout, want, got.Code, got.Stderr)
			}
			if n := strings.Count(got.Stderr, " CACHED"); n != 8 {
				t.Errorf("from %s: %d steps of 8 were cached:\n%s", from, n, got.Stderr)
			}
			s.write(t, "ctx/last", "changed")
			s.run(t, "rm", "-rf", s.path("cache"))
			again := s.cooper(t, "build", "--tls-verify=false", "--progress=plain", "--cache-from", from, "ctx")
			if n := strings.Count(again.Stderr, " CACHED"); again.Code != 0 || n != 7 {
				t.Errorf("with another file: %d steps of 7 were cached, status %d:\n%s", n, again.Code, again.Stderr)
			}
			s.checkNoLeftovers(t)
		}
		for _, bad := range []string{"--cache-to=type=registry", "--cache-from=type=registry", "--cache-ttl=soon"} {
			if got := first.cooper(t, "build", bad, "ctx"); got.Code != 2 {
				t.Errorf("%s: status %d: %s", bad, got.Code, got.Stderr)
			}
		}
	})
}
