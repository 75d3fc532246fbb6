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
			"COPY --from=tools /tool /tool\nRUN true\nCOPY last /last\n" +
			"RUN --mount=type=cache,id=c,target=/c cat /c/file || echo none; echo filled >/c/file; chown 3:4 /c/file; stat -c %u:%g /c/file\n"
		for _, s := range []*site{first, newSite(t, m)} {
			s.write(t, "ctx/Containerfile", file)
			s.write(t, "ctx/source", "source")
			s.write(t, "ctx/last", "last")
		}
		registry, dir := "type=registry,ref="+address+"/lib/cache:1", first.path("cache")
		want := first.build(t, "--tls-verify=false", "--cache-to", registry+",mode=max,mounts=c", "--cache-to",
			"type=local,dest="+dir+",mode=max,mounts=all", "ctx")
		for _, from := range []string{registry, "type=local,src=" + dir, address + "/lib/none," + address + "/lib/cache:1"} {
			s := newSite(t, m)
			s.write(t, "ctx/Containerfile", file)
			s.write(t, "ctx/source", "source")
			s.write(t, "ctx/last", "last")
			got := s.cooper(t, "build", "--tls-verify=false", "--progress=plain", "--cache-from", from, "ctx")
			if got.Code != 0 || !strings.Contains(got.Stdout, want) {
				t.Errorf("from %s it is %q and not %q, with status %d:\n%s", from, got.Stdout, want, got.Code, got.Stderr)
			}
			if n := strings.Count(got.Stderr, " CACHED"); n != 9 {
				t.Errorf("from %s: %d steps of 9 were cached:\n%s", from, n, got.Stderr)
			}
			s.write(t, "ctx/last", "changed")
			s.run(t, "rm", "-rf", s.path("cache"))
			again := s.cooper(t, "build", "--tls-verify=false", "--progress=plain", "--cache-from", from, "ctx")
			if n := strings.Count(again.Stderr, " CACHED"); again.Code != 0 || n != 7 {
				t.Errorf("with another file: %d steps of 7 were cached, status %d:\n%s", n, again.Code, again.Stderr)
			}
			if lines := again.Stderr; !strings.Contains(lines, " filled\n") || !strings.Contains(lines, " 3:4\n") {
				t.Errorf("from %s: the step has not the cache mount of the other machine:\n%s", from, again.Stderr)
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

// TestAnImageHasItsOwnCache has a second store find the steps of an image in the image's config.
func TestAnImageHasItsOwnCache(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		first := newSite(t, m)
		address, _ := first.startRegistry(t)
		first.busybox(t, "base")
		first.build(t, "-t", address+"/lib/base:1", "--push", "--tls-verify=false", "busybox")
		second, name := newSite(t, m), address+"/lib/app:1"
		for _, s := range []*site{first, second} {
			s.write(t, "ctx/Containerfile", "FROM "+address+"/lib/base:1\nRUN echo built >/built\nENV A=b\nRUN true\nCOPY last /\n")
			s.write(t, "ctx/last", "last")
		}
		want := first.build(t, "-t", name, "--push", "--tls-verify=false", "--cache-to", "type=inline", "ctx")
		args := []string{"build", "--tls-verify=false", "--progress=plain", "--cache-to=type=inline",
			"--cache-from=type=registry,ref=" + name, "ctx"}
		got := second.cooper(t, args...)
		if n := strings.Count(got.Stderr, " CACHED"); got.Code != 0 || n != 4 || !strings.Contains(got.Stdout, want) {
			t.Errorf("%d steps of 4 were cached, it is %q and not %q, status %d:\n%s", n, got.Stdout, want, got.Code, got.Stderr)
		}
		refused := second.cooper(t, "build", "--tls-verify=false", "--cache-to=type=registry,ref="+name, "ctx")
		if refused.Code == 0 || !strings.Contains(refused.Stderr, "it is not replaced") {
			t.Errorf("the image is replaced by a cache: status %d: %s", refused.Code, refused.Stderr)
		}
		second.checkNoLeftovers(t)
	})
}
