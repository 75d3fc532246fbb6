package outputs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

func TestLayersBecomeOneAndTheLastEntryHasIt(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{Image: ImageOptions{Squash: SquashNew}})
	made := r.finish(t, nil, r.stage(t, run("one", "a=1", "b=1"), env("A=1"), run("two", "a=2"), env("B=1")))
	found := r.find(t, made.ID.Encoded())
	var with []string
	for _, h := range found.Image.History {
		if !h.EmptyLayer {
			with = append(with, h.CreatedBy)
		}
	}
	if len(found.Layers) != 1 || len(found.Image.History) != 4 || strings.Join(with, ",") != "ENV B=1" {
		t.Errorf("%d layers, history %+v", len(found.Layers), found.Image.History)
	}

	again := r.again(t, Options{Image: ImageOptions{Squash: SquashAll}})
	if same := again.finish(t, nil, again.stage(t, run("one", "a=1", "b=1"), env("A=1"), run("two", "a=2"),
		env("B=1"))); same.
		ID != made.ID {
		t.Errorf("on nothing all layers are the new ones, but the image is %s and not %s", same.ID, made.ID)
	}
}

func TestAnImageWithoutHistoryHasItsLayers(t *testing.T) {
	t.Parallel()
	for _, squash := range []Squash{SquashNone, SquashNew} {
		r := newRoom(t, Options{Image: ImageOptions{OmitHistory: true, Squash: squash}})
		made := r.finish(t, nil, r.stage(t, run("one", "a=1"), run("two", "a=2")))
		want := map[Squash]int{SquashNone: 2, SquashNew: 1}[squash]
		if found := r.find(t, made.ID.Encoded()); len(found.Layers) != want || len(found.Image.History) > 0 {
			t.Errorf("%v: %d layers, history %+v", squash, len(found.Layers), found.Image.History)
		}
	}
}

func TestTheManifestHasTheAnnotationsOfTheImage(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{Image: ImageOptions{DateAnnotation: true, Annotations: annotation.Set{
		{Place: annotation.Manifest, Key: "k", Value: "v"}, {Place: annotation.Index, Key: "i", Value: "v"},
	}}})
	made := r.finish(t, nil, r.stage(t, run("one", "a=1")))
	found := r.find(t, made.ID.Encoded())
	date := found.Annotations["org.opencontainers.image.created"]
	delete(found.Annotations, "org.opencontainers.image.created")
	if diff := cmp.Diff(map[string]string{"k": "v"}, found.Annotations); diff != "" || !strings.HasSuffix(date, "Z") {
		t.Errorf("made %q (-want +got)\n%s", date, diff)
	}
	plain := r.again(t, Options{Format: imagebuilder.OCI})
	if same := plain.finish(t, nil, plain.stage(t, run("one", "a=1"))); same.ID != made.ID ||
		same.Manifest == made.Manifest {
		t.Errorf("without annotations the image is %s, %s", same.ID, same.Manifest)
	}
	if found := plain.find(t, made.ID.Encoded()); len(found.Annotations) > 0 {
		t.Errorf("it has %v still", found.Annotations)
	}
}
