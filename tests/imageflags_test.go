package tests_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// described is what podman says of an image.
type described struct {
	Config struct {
		Env    []string
		Labels map[string]string
	}
	Annotations map[string]string
	RootFS      struct{ Layers []string }
	History     []struct {
		Created    string `json:"created"`
		CreatedBy  string `json:"created_by"`
		EmptyLayer bool   `json:"empty_layer"`
	}
	Created, Architecture, Os string
}

// describe has podman look at an image.
func (s *site) describe(t *testing.T, name string) described {
	t.Helper()
	var all []described
	if err := json.Unmarshal([]byte(s.run(t, "podman", "image", "inspect", name)), &all); err != nil || len(all) != 1 {
		t.Fatalf("%s: %v, %d images", name, err, len(all))
	}
	d := all[0]
	// What buildah adds on its own account.
	delete(d.Config.Labels, "io.buildah.version")
	slices.Sort(d.Config.Env)
	return d
}

// buildBoth builds with cooper and with podman, and describes both images.
func (s *site) buildBoth(t *testing.T, dir string, flags ...string) (ours, theirs described) {
	t.Helper()
	s.build(t, append(slices.Clone(flags), "-t", "ours", dir)...)
	s.run(t, "podman", slices.Concat([]string{"build", "-q", "--isolation=chroot", "--no-cache", "--pull=never"}, flags,
		[]string{"-t", "theirs", dir})...)
	return s.describe(t, "ours"), s.describe(t, "theirs")
}

func TestLabelsAndVariablesOfTheCommandLineAreThoseOfPodman(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "box")
		s.write(t, "base/Containerfile", "FROM box\nLABEL base=1 both=base\nENV BASE=1 BOTH=base\n")
		s.build(t, "-t", "base", "base")
		s.write(t, "ctx/args", "# values\nTEXT=of the file\nMORE=1\n")
		s.write(t, "ctx/Containerfile", `FROM localhost/base:latest AS one
ARG TEXT MORE
ENV BOTH=mine
LABEL own=1 both=own
RUN echo "$MINE $BASE $BOTH $TEXT $MORE" >/seen
FROM one
RUN echo "$MINE $BASE $BOTH" >>/seen
`)
		s.env = append(s.env, "OUTSIDE=from outside")
		for i, flags := range [][]string{
			{},
			{"--env=MINE=2", "--env=BOTH=flag", "--env", "OUTSIDE"},
			{"--env", "MINE=a b", "--label", "cli=1", "--label", "bare"},
		} {
			if !m.takes(i) {
				continue
			}
			ours, theirs := s.buildBoth(t, "ctx", flags...)
			if diff := cmp.Diff(theirs.Config, ours.Config); diff != "" {
				t.Errorf("%q (-podman +cooper)\n%s", flags, diff)
			}
			seen := s.run(t, "podman", "run", "--rm", "--network=host", "theirs", "cat", "/seen")
			if got := s.run(t, "podman", "run", "--rm", "--network=host", "ours", "cat", "/seen"); got != seen {
				t.Errorf("%q: RUN steps of cooper saw %q, those of podman %q", flags, got, seen)
			}
		}
		if m.takes(3) {
			ours, theirs := s.buildBoth(t, "ctx", "--env=MINE=2", "--unsetenv=BASE", "--unsetenv=MINE")
			if diff := cmp.Diff(theirs.Config, ours.Config); diff != "" {
				t.Errorf("without variables (-podman +cooper)\n%s", diff)
			}
		}

		s.build(t, "-t", "ours", "--inherit-labels=false", "--unsetlabel=own", "--identity-label", "ctx")
		labels := s.describe(t, "ours").Config.Labels
		if labels["io.cooper.version"] == "" || len(labels) != 1 {
			t.Errorf("a stage that inherits no labels has %v", labels)
		}
		s.build(t, "-t", "ours", "--build-arg-file=ctx/args", "--build-arg=MORE=2", "--from=box", "ctx")
		if got := s.run(t, "podman", "run", "--rm", "--network=host", "ours", "cat", "/seen"); got !=
			"  mine of the file 2\n  mine\n" {
			t.Errorf("on another base and with arguments of a file: %q", got)
		}
		s.cooper(t, "build", "--label=a=1", "--unsetlabel=a", "ctx").fails(t, 2, "--label", "--unsetlabel")
		s.cooper(t, "build", "--from=none.invalid/x", "--pull=never", "ctx").fails(t, 1, "none.invalid/x", "Containerfile:1")
	})
}

func TestOneStageIsRunWithoutTheCache(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "box")
		s.write(t, "ctx/Containerfile", `FROM box AS one
RUN head -c16 /dev/urandom >/one
FROM box AS two
RUN head -c16 /dev/urandom >/two
FROM box
COPY --from=one /one /
COPY --from=two /two /
`)
		read := func(flags ...string) (one, two string) {
			t.Helper()
			s.build(t, append(slices.Clone(flags), "-o", "out", "ctx")...)
			return s.read(t, "out/one"), s.read(t, "out/two")
		}
		one, two := read("--rm", "--force-rm", "--load")
		if a, b := read(); a != one || b != two {
			t.Error("the cache has neither")
		}
		if a, b := read("--no-cache-filter=TWO"); a != one || b == two {
			t.Errorf("without the cache for one stage: the other from the cache %t, this one from the cache %t", a == one, b == two)
		}
		warned := s.cooper(t, "build", "--no-cache-filter", "twoo,0", "ctx")
		if warned.Code != 0 || !strings.Contains(warned.Stderr, `there is no stage "twoo"`) {
			t.Errorf("status %d, %s", warned.Code, warned.Stderr)
		}
	})
}
