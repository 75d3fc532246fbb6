package tests_test

import (
	"strings"
	"testing"
)

// TestCacheOutlivesCleanUpOfOtherTools has podman and buildah clean up after builds with and without a name, of several
// stages and platforms. The next build finds everything.
func TestCacheOutlivesCleanUpOfOtherTools(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", `FROM base AS below
RUN echo below >/below
FROM below AS other
ARG V=1
RUN echo other $V >/other
FROM base
COPY --from=other /other /other
RUN echo last >/last
`)
		s.write(t, "many/Containerfile", "FROM scratch\nCOPY Containerfile /f\nCOPY --link Containerfile /g\n")
		builds := [][]string{
			{"-t", "app", "ctx"}, {"ctx"}, {"-t", "app", "--build-arg=V=2", "ctx"}, {"-t", "app", "--build-arg=V=3", "ctx"},
			{"--platform=linux/amd64,linux/arm64", "many"}, {"-t", "many", "--platform=linux/amd64,linux/arm64", "many"},
		}
		for _, args := range builds {
			s.build(t, append([]string{"-q"}, args...)...)
		}
		layers := len(s.layers(t))
		// other and the last three times, but for the named one; and two platforms
		s.checkRows(t, "localhost/cooper-cache", 3+2+2)
		for _, clean := range [][]string{{"podman", "image", "prune", "-f"}, {"podman", "system", "prune", "-f"},
			{"buildah", "rmi", "--prune"}} {
			s.run(t, clean[0], clean[1:]...)
			if now := len(s.layers(t)); now != layers {
				t.Fatalf("%s: %d layers are left of %d", strings.Join(clean, " "), now, layers)
			}
		}
		for _, args := range builds {
			s.checkCached(t, args...)
		}
		s.run(t, "buildah", "manifest", "push", "--all", "many", "dir:"+s.path("many.dir"))
		s.checkKeptNames(t)
	})
}

// checkKeptNames looks at who has a name after images got others, and at what is removed.
func (s *site) checkKeptNames(t *testing.T) {
	t.Helper()
	s.build(t, "-q", "-t", "second", "--build-arg=V=2", "ctx") // it was kept by a name of the cache's
	s.checkRows(t, "localhost/second", 1)
	s.checkRows(t, "localhost/cooper-cache", 3+1+2)
	s.run(t, "podman", "rmi", "app", "second")
	s.build(t, "-q", "-t", "app", "ctx")
	s.run(t, "podman", "tag", "app", "cooper-cache:mine")
	s.run(t, "podman", "untag", "app", "app")
	s.cooper(t, "prune", "-af").succeeds(t)
	s.checkRows(t, "localhost/cooper-cache", 1+2) // mine, and those of the index
	s.run(t, "podman", "rmi", "cooper-cache:mine")
	s.run(t, "podman", "manifest", "rm", "many")
	s.cooper(t, "prune", "-af").succeeds(t)
	s.checkRows(t, "localhost/cooper-cache", 0)
	s.checkNoLeftovers(t)
}

// checkRows counts the lines that podman images shows.
func (s *site) checkRows(t *testing.T, repository string, want int) {
	t.Helper()
	out := s.run(t, "podman", "images", "--format", "{{.Repository}}")
	if n := strings.Count(out, repository+"\n"); n != want || strings.Contains(out, "<none>") {
		t.Errorf("podman lists %d of %s, not %d:\n%s", n, repository, want, out)
	}
}

// checkCached builds what must be in the cache as a whole.
func (s *site) checkCached(t *testing.T, args ...string) {
	t.Helper()
	r := s.cooper(t, append([]string{"build", "--progress=plain"}, args...)...)
	if r.Code != 0 || strings.Contains(r.Stderr, " DONE ") {
		t.Errorf("cooper build %s: status %d, not all is cached\n%s", strings.Join(args, " "), r.Code, tail(r.Stderr))
	}
}
