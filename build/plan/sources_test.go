package plan_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// policy converts what it has an entry for, denies the sources whose entry is empty, and notes what it is asked.
type policy struct {
	entries map[string]string
	asked   []string
}

func (p *policy) Source(source string) (string, error) {
	p.asked = append(p.asked, source)
	to, is := p.entries[source]
	switch {
	case !is:
		return source, nil
	case to == "":
		return "", errors.New(source + " is denied")
	}
	return to, nil
}

// asked notes the images that a resolver is asked for.
type asked struct{ names []string }

func (a *asked) Resolve(_ context.Context, ref string, _ plan.Wanted) (imagebuilder.Base, error) {
	a.names = append(a.names, ref)
	return imagebuilder.Base{ID: "1", Name: ref}, nil
}

const sourcesText = `FROM a AS one
ADD https://h/x git@h:o/r.git#main ./y /z/
COPY --from=b/c:1 /x /
RUN --mount=type=bind,from=d,target=/d true
FROM scratch
COPY --from=one / /
`

func TestThePolicyIsAskedForEachSourceAndFollowed(t *testing.T) {
	t.Parallel()
	p := &policy{entries: map[string]string{
		"docker-image://docker.io/library/a:latest": "docker-image://m/a@1",
		"https://h/x":          "https://m/x",
		"git://h/o/r.git#main": "https://m/r.git#v1",
	}}
	found := &asked{}
	g := changed(t, sourcesText, func(o *plan.Options) { o.Sources, o.Resolver = p, found })
	if diff := cmp.Diff([]string{"m/a@1", "b/c:1", "d"}, found.names); diff != "" {
		t.Errorf("images (-want +got)\n%s", diff)
	}
	var remotes []string
	for _, s := range g.Steps {
		if op, ok := s.Op.(*plan.Copy); ok {
			for _, r := range op.Remotes {
				remotes = append(remotes, r.URL+r.Git.Remote+" "+r.Git.Ref)
			}
		}
	}
	if diff := cmp.Diff([]string{"https://m/x ", "https://m/r.git v1"}, remotes); diff != "" {
		t.Errorf("remote sources (-want +got)\n%s", diff)
	}
	want := []string{"docker-image://docker.io/library/a:latest", "https://h/x", "git://h/o/r.git#main",
		"docker-image://docker.io/b/c:1", "docker-image://docker.io/library/d:latest"}
	less := cmp.Transformer("set", func(in []string) map[string]bool {
		set := map[string]bool{}
		for _, s := range in {
			set[s] = true
		}
		return set
	})
	if diff := cmp.Diff(want, p.asked, less); diff != "" {
		t.Errorf("asked (-want +got)\n%s", diff)
	}
}

func TestADeniedSourceEndsThePlan(t *testing.T) {
	t.Parallel()
	f, err := dockerfile.Parse("Dockerfile", []byte(sourcesText), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for source, line := range map[string]string{
		"docker-image://docker.io/library/a:latest": "Dockerfile:1:", "https://h/x": "Dockerfile:2:",
		"git://h/o/r.git#main": "Dockerfile:2:", "docker-image://docker.io/library/d:latest": "Dockerfile:4:",
	} {
		o := options()
		o.Resolver, o.Sources = &asked{}, &policy{entries: map[string]string{source: ""}}
		_, err := plan.Make(t.Context(), f, o)
		if err == nil || !strings.HasPrefix(err.Error(), line) || !strings.Contains(err.Error(), source+" is denied") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestARepositoryHasOneNameForPolicies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://h/o/r.git": "git://h/o/r.git", "https://u:secret@h/o/r.git#v": "git://h/o/r.git#v",
		"ssh://git@h/o/r.git": "git://h/o/r.git", "git@h:o/r": "git://h/o/r",
	} {
		ref, ok, err := remote.ParseGit(text)
		if !ok || err != nil {
			t.Fatal(text, err)
		}
		p := &policy{}
		if got, err := plan.GitSource(p, ref); err != nil || got != ref || strings.Contains(p.asked[0], "secret") {
			t.Errorf("%s: %+v, %v", text, got, err)
		} else if p.asked[0] != want {
			t.Errorf("%s is %s, want %s", text, p.asked[0], want)
		}
	}
}
