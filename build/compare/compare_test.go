package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/session/sessiontest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// lines are what differs, a line each.
func (r Report) lines() (all []string) {
	for _, f := range r.Config {
		all = append(all, fmt.Sprintf("config %s: %v -> %v", f.Name, f.Before, f.After))
	}
	for _, f := range r.History {
		all = append(all, fmt.Sprintf("history %s: %v -> %v", f.Name, f.Before, f.After))
	}
	for _, l := range r.Layers {
		all = append(all, fmt.Sprintf("layer %d: %t %q -> %t %q", l.Number, l.Digest[0] != "", l.Step[0], l.Digest[1] != "",
			l.Step[1]))
	}
	for _, f := range r.Files {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Change, f.Path, strings.Join(f.What, ",")))+" by "+
			f.Step)
	}
	return all
}

// layer makes a layer of files, "NAME=TEXT" each, on others.
func layer(t *testing.T, s *sessiontest.Session, on []store.Layer, files ...string) []store.Layer {
	t.Helper()
	parent := ""
	if len(on) > 0 {
		parent = on[len(on)-1].ID
	}
	l, res := storetest.Commit(t, s.Store, parent, func(dir string) {
		for _, f := range files {
			name, text, _ := strings.Cut(f, "=")
			storetest.Write(t, filepath.Join(dir, name), text)
		}
	})
	l.DiffID = res.DiffID
	return append(on[:len(on):len(on)], l)
}

func TestImagesDifferInWhatTheyAreMadeOf(t *testing.T) {
	t.Parallel()
	s := sessiontest.Open(t)
	base := layer(t, s, nil, "same=1", "changed=1", "gone=1")
	one := layer(t, s, base, "changed=2", "gone=2", "old=1")
	two := layer(t, s, base, "changed=3", "gone=2", "new=1", "longer=1")
	more := layer(t, s, two, "same=2")
	steps := []string{"FROM base", "RUN one"}
	first := s.Put(t, sessiontest.Image{Steps: steps}, one, "localhost/one:1")
	for name, test := range map[string]struct {
		image  sessiontest.Image
		layers []store.Layer
		want   []string
	}{
		"the same": {sessiontest.Image{Steps: steps}, one, nil},
		"the config only": {sessiontest.Image{Steps: steps, Platform: "linux/arm64", Config: ocispec.ImageConfig{
			Env: []string{"A=1"}, User: "me", Labels: map[string]string{"k": "v"}}}, one, []string{
			"config architecture: amd64 -> arm64", "config config.Env: <nil> -> [A=1]",
			"config config.Labels: <nil> -> map[k:v]", "config config.User: <nil> -> me"}},
		"the history only": {sessiontest.Image{Steps: []string{"FROM base", "#ENV", "RUN two"}}, one, []string{
			"history step 002: RUN one -> #ENV", "history step 003: <nil> -> RUN two"}},
		"a layer": {sessiontest.Image{Steps: steps}, two, []string{`layer 2: true "RUN one" -> true "RUN one"`,
			"changed /changed content by RUN one", "added /longer by RUN one", "added /new by RUN one",
			"removed /old by RUN one"}},
		"a layer more": {sessiontest.Image{Steps: []string{"FROM base", "#ENV", "RUN two", "RUN three"}}, more, []string{
			"history step 002: RUN one -> #ENV", "history step 003: <nil> -> RUN two", "history step 004: <nil> -> RUN three",
			`layer 2: true "RUN one" -> true "RUN two"`, `layer 3: false "" -> true "RUN three"`,
			"changed /changed content by RUN two", "added /longer by RUN two", "added /new by RUN two",
			"removed /old by RUN one",
			"changed /same content by RUN three"}},
		"no layer": {sessiontest.Image{}, nil, []string{"history step 001: FROM base -> <nil>",
			"history step 002: RUN one -> <nil>",
			`layer 1: true "FROM base" -> false ""`, `layer 2: true "RUN one" -> false ""`, "removed /changed by RUN one",
			"removed /gone by RUN one", "removed /old by RUN one", "removed /same by FROM base"}},
	} {
		second := s.Put(t, test.image, test.layers)
		got, err := Images(t.Context(), s.Session, "one:1", second)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.want, got.lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.IDs != [2]string{first, second} || got.Equal() != (name == "the same") {
			t.Errorf("%s: %v, equal: %t", name, got.IDs, got.Equal())
		}
	}
}

// TestAnImageWithoutHistoryHasNoSteps, which are told as nothing.
func TestAnImageWithoutHistoryHasNoSteps(t *testing.T) {
	t.Parallel()
	s := sessiontest.Open(t)
	l := layer(t, s, nil, "a=1")
	s.Put(t, sessiontest.Image{}, l, "localhost/one:1")
	s.Put(t, sessiontest.Image{Steps: []string{"RUN 1", "RUN 2", "RUN 3"}}, layer(t, s, nil, "a=2"), "localhost/two:1")
	got, err := Images(t.Context(), s.Session, "one:1", "two:1")
	want := []string{"history step 001: <nil> -> RUN 1", "history step 002: <nil> -> RUN 2",
		"history step 003: <nil> -> RUN 3",
		`layer 1: true "" -> true "RUN 1"`, "changed /a content by RUN 1"}
	if diff := cmp.Diff(want, got.lines()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestWhatCanNotBeComparedIsTold(t *testing.T) {
	t.Parallel()
	if _, err := Images(t.Context(), sessiontest.Closed(t), "one", "two"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("a store that isn't there: %v", err)
	}
	s := sessiontest.Open(t)
	s.Put(t, sessiontest.Image{}, layer(t, s, nil, "a=1"), "localhost/one:1")
	s.Put(t, sessiontest.Image{}, layer(t, s, nil, "a=2"), "localhost/two:1")
	for _, names := range [][2]string{{"one:1", "none"}, {"none", "one:1"}} {
		if _, err := Images(t.Context(), s.Session, names[0], names[1]); !errors.Is(err, images.ErrNoImage) ||
			!strings.HasPrefix(err.Error(), "none: ") {
			t.Errorf("%v: %v", names, err)
		}
	}
	why := errors.New("the user has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Images(ctx, s.Session, "one:1", "two:1"); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
}
