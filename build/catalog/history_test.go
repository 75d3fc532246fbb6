package catalog

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// madeBy is an image with a history of these steps; those in capitals have layers.
func madeBy(id string, steps ...string) (l images.Listed) {
	l.ID, l.Names = id, []string{id + ":1"}
	for _, s := range steps {
		h := imagebuilder.History{CreatedBy: s, EmptyLayer: s > "Z"}
		l.Image.History = append(l.Image.History, h)
		if !h.EmptyLayer {
			l.Layers = append(l.Layers, s)
		}
	}
	return l
}

func TestStepsHaveTheSizesOfTheirLayersAndTheImagesThatEndWithThem(t *testing.T) {
	t.Parallel()
	app := madeBy("app", "A", "env", "B", "cmd")
	when := time.Unix(7, 0)
	app.Image.History[2].Created = &when
	d := images.Described{Listed: app}
	d.ID, d.Image, d.Layers = app.ID, app.Image, []store.Layer{{Size: 10}, {Size: 20}}
	cached := madeBy("cached", "A")
	cached.Cached = true
	got := stepsOf(d, []images.Listed{app, madeBy("base", "A", "env"), madeBy("other", "A", "run"), cached})
	want := []Step{
		{ID: "app", CreatedBy: "cmd", Tags: []string{"app:1"}},
		{ID: MissingID, CreatedBy: "B", Size: 20, Created: when},
		{ID: "base", CreatedBy: "env", Tags: []string{"base:1"}},
		{ID: MissingID, CreatedBy: "A", Size: 10},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAHistoryThatLiesIsShownAsItIs: nothing holds a history to the layers of its image.
func TestAHistoryThatLiesIsShownAsItIs(t *testing.T) {
	t.Parallel()
	for name, layers := range map[string][]store.Layer{"too few": {{Size: 1}}, "too many": make([]store.Layer, 5),
		"none": nil} {
		d := images.Described{Listed: madeBy("app", "A", "B")}
		d.Image, d.Layers = d.Listed.Image, layers
		if got := stepsOf(d, nil); len(got) != 2 || got[1].CreatedBy != "A" {
			t.Errorf("%s layers: %+v", name, got)
		}
	}
	if got := stepsOf(images.Described{}, nil); len(got) != 0 {
		t.Errorf("no history: %+v", got)
	}
}

func TestADescriptionHasNoNullsWhereListsAre(t *testing.T) {
	t.Parallel()
	d, err := descriptionOf(images.Described{
		Found:    images.Found{Base: imagebuilder.Base{Config: []byte(`{"author":"a","docker_version":"1","comment":"c"}`)}},
		Manifest: []byte(`{"annotations":null}`),
	}, nil)
	if err != nil || d.RepoTags == nil || d.RepoDigests == nil || d.History == nil || d.RootFS.Layers == nil ||
		d.Annotations == nil || d.Author != "a" || d.Version != "1" || d.Comment != "c" ||
		d.ManifestType != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := descriptionOf(images.Described{Found: images.Found{Base: imagebuilder.Base{Config: []byte("[]")}},
		Manifest: []byte("{}")}, nil); err == nil {
		t.Error("a config that is none is described")
	}
	when := Time{time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)}
	if text := when.String(); text != "2026-01-02T03:04:05.0000006Z" {
		t.Errorf("a time is %s", text)
	}
}
