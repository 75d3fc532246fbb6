package outputs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

func TestAnImageHasTheLayersAndHistoryOfItsSteps(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{})
	stage := r.stage(t, env("A=1"), run("one", "a=1"), run("nothing"), env("B=2"), run("two", "b=2"))
	stage.Image.Config.Env = []string{"A=1", "B=2"}
	made := r.finish(t, []string{"docker.io/library/app:1", "docker.io/library/app:2"}, stage)
	for _, name := range []string{"docker.io/library/app:1", "docker.io/library/app:2", made.ID.Encoded()} {
		found := r.find(t, name)
		if len(found.Layers) != 2 || found.Layers[1].ID != r.roots[stage.Last.ID].Top() ||
			!slices.Equal(found.Image.Config.Env, stage.Image.Config.Env) || found.Image.Platform.Architecture != "amd64" {
			t.Errorf("%s: %+v", name, found)
		}
		one, two := r.roots[stage.Last.Parent.ID].Created(), r.roots[stage.Last.ID].Created()
		var got []string
		for _, h := range found.Image.History {
			got = append(got, fmt.Sprint(h.CreatedBy, " ", h.EmptyLayer, " ", h.Created.UTC()))
		}
		want := []string{
			// What comes before the first layer has the time of the image.
			fmt.Sprint("ENV A=1 true ", two), fmt.Sprint("RUN one false ", one), fmt.Sprint("RUN nothing true ", one),
			fmt.Sprint("ENV B=2 true ", one), fmt.Sprint("RUN two false ", two),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: history (-want +got)\n%s", name, diff)
		}
	}
	for _, name := range []string{"app:1", "app:2"} {
		if !strings.Contains(r.Shown.Text(), "tagged docker.io/library/"+name) {
			t.Errorf("%s is not told of: %s", name, r.Shown.Text())
		}
	}
	if made.Manifest == "" {
		t.Error("the manifest has no digest")
	}
}

// TestTheSameStepsMakeTheSameImage has images without a layer of their own, too: the first build says when they were
// made.
func TestTheSameStepsMakeTheSameImage(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string]func() []instruction{
		"with layers":    func() []instruction { return []instruction{run("one", "a=1"), env("A=1")} },
		"without layers": func() []instruction { return []instruction{env("A=1")} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, Options{})
			first := r.finish(t, []string{"docker.io/library/app:1"}, r.stage(t, steps()...))
			next := r.again(t, Options{})
			if second := next.finish(t, nil, next.stage(t, steps()...)); second != first {
				t.Errorf("first %v, then %v", first, second)
			}
			other := r.again(t, Options{})
			if third := other.finish(t, nil, other.stage(t, append(steps(), env("B=1"))...)); third.ID == first.ID {
				t.Error("other steps made the same image")
			}
			if r.find(t, "docker.io/library/app:1").ID != first.ID.Encoded() {
				t.Error("a build without names took the first one's")
			}
		})
	}
}

func TestAnImageWithoutLayersHasTheSourceDate(t *testing.T) {
	t.Parallel()
	date := time.Unix(1_000_000_000, 0)
	r := newRoom(t, Options{Date: &layer.Date{Time: date}})
	made := r.finish(t, nil, r.stage(t, env("A=1")))
	image := r.find(t, made.ID.Encoded()).Image
	if !image.Created.Equal(date) || !image.History[0].Created.Equal(date) {
		t.Errorf("made %v, its step %v", image.Created, image.History[0].Created)
	}
	future := time.Now().Add(time.Hour)
	late := r.again(t, Options{Date: &layer.Date{Time: future}})
	made = late.finish(t, nil, late.stage(t, env("B=1")))
	if image := r.find(t, made.ID.Encoded()).Image; !image.Created.Before(future) {
		t.Errorf("made %v, in the future", image.Created)
	}
	exact := r.again(t, Options{Date: &layer.Date{Time: future, Exact: true}})
	made = exact.finish(t, nil, exact.stage(t, env("C=1")))
	if image := r.find(t, made.ID.Encoded()).Image; !image.Created.Equal(future) {
		t.Errorf("made %v, not at the time that was asked for", image.Created)
	}
}

func TestSeveralPlatformsMakeAnIndex(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{})
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	first := r.stage(t, run("one", "a=1"))
	second := r.stageFor(t, imagebuilder.Image{Platform: arm}, run("two", "a=2"))
	const name = "docker.io/library/app:1"
	made := r.finish(t, []string{name}, first, second)
	for _, platform := range []ocispec.Platform{amd64(), arm} {
		found, err := r.Depot.Images.FindFor(t.Context(), name, platform)
		if err != nil || found.Image.Platform.Architecture != platform.Architecture || len(found.Layers) != 1 {
			t.Errorf("%s: %+v, %v", platform.Architecture, found, err)
		}
	}
	if made.ID != made.Manifest || made.ID == "" {
		t.Errorf("the index is %s, the manifest %s", made.ID, made.Manifest)
	}
}

func TestAnImageThatCannotBeRecordedHasNoName(t *testing.T) {
	t.Parallel()
	broken := &recorded{err: errors.New("the disk is full")}
	r := newRoom(t, Options{Images: broken})
	stage := r.stage(t, run("one", "a=1"))
	made, err := r.Finish(t.Context(), []*plan.Stage{stage}, r.roots, []string{"docker.io/library/app:1"})
	if !errors.Is(err, broken.err) || made != (Made{}) {
		t.Errorf("got %v, %v", made, err)
	}
	if strings.Contains(r.Shown.Text(), "tagged") {
		t.Errorf("a name is told of: %s", r.Shown.Text())
	}
}

func TestInstructionsThatOnlyDockerSeesAreToldOnce(t *testing.T) {
	t.Parallel()
	stage := func(shell, onBuild bool) *plan.Stage {
		s := &plan.Stage{}
		if shell {
			s.Image.Config.Shell = []string{"sh"}
		}
		if onBuild {
			s.Image.Config.OnBuild = []string{"RUN x"}
		}
		return s
	}
	for name, test := range map[string]struct {
		format imagebuilder.Format
		stages []*plan.Stage
		want   string
	}{
		"none": {imagebuilder.OCI, []*plan.Stage{stage(false, false)}, ""},
		"one":  {imagebuilder.OCI, []*plan.Stage{stage(true, false)}, "ignore SHELL in images"},
		"in two stages": {imagebuilder.OCI, []*plan.Stage{stage(true, false), stage(true, true)},
			"ignore SHELL, ONBUILD in images"},
		"docker's": {imagebuilder.Docker, []*plan.Stage{stage(true, true)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, Options{Format: test.format})
			r.WarnOfFormat(test.stages)
			got := r.Shown.Text()
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) ||
				got != "" && !strings.Contains(got, "--format docker") {
				t.Errorf("shown: %s", got)
			}
		})
	}
}

// anchors gives what Anchor records for stages, by the top layer.
func anchors(t *testing.T, r *room, except []*plan.Stage, stages ...*plan.Stage) map[string]images.Record {
	t.Helper()
	put := &recorded{}
	r.Images = put
	if err := r.Anchor(t.Context(), &plan.Graph{Stages: stages}, r.roots, except); err != nil {
		t.Fatal(err)
	}
	all := map[string]images.Record{}
	for _, record := range put.records {
		top := record.Layers[len(record.Layers)-1].ID
		if _, twice := all[top]; twice || len(record.Names) > 0 {
			t.Errorf("recorded twice or by name: %+v", record)
		}
		all[top] = record
	}
	return all
}

func TestEveryStageIsHeldInTheStore(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{})
	builder, target := r.stage(t, run("one", "a=1"), run("two", "b=2")), r.stage(t, run("three", "c=3"))
	none := r.stage(t, env("A=1"))
	got := anchors(t, r, []*plan.Stage{target}, builder, none, target)
	record, ok := got[r.roots[builder.Last.ID].Top()]
	if len(got) != 1 || !ok || !record.Keep || len(record.Layers) != 2 {
		t.Errorf("recorded: %+v", got)
	}
	if got := anchors(t, r, nil, builder, none, target); len(got) != 2 {
		t.Errorf("without a target %d are recorded", len(got))
	}
}

func TestAStageThatAnotherHoldsIsNotRecordedAgain(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{})
	lower, upper := r.stage(t, run("one", "a=1")), r.stage(t, run("one", "a=1"), run("two", "b=2"))
	if r.roots[lower.Last.ID].Top() != r.roots[upper.Last.Parent.ID].Top() {
		t.Fatal("the stages don't share a layer")
	}
	got := anchors(t, r, nil, lower, upper)
	if _, ok := got[r.roots[upper.Last.ID].Top()]; len(got) != 1 || !ok {
		t.Errorf("recorded: %+v", got)
	}
	// The image of the target holds the layers of the other, which other tools show as its parent.
	got = anchors(t, r, []*plan.Stage{upper}, lower, upper)
	if record, ok := got[r.roots[lower.Last.ID].Top()]; len(got) != 1 || !ok || record.Keep {
		t.Errorf("recorded: %+v", got)
	}
}

func TestWhatAFailedBuildHasDoneIsHeld(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{})
	stage := r.stage(t, run("one", "a=1"), run("fails"))
	r.roots[stage.Last.ID] = nil
	got := anchors(t, r, nil, stage)
	if _, ok := got[r.roots[stage.Last.Parent.ID].Top()]; len(got) != 1 || !ok {
		t.Errorf("recorded: %+v", got)
	}
	clear(r.roots)
	if got := anchors(t, r, nil, stage); len(got) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
	broken := newRoom(t, Options{Images: &recorded{err: errors.New("the disk is full")}})
	done := broken.stage(t, run("one", "a=1"))
	if err := broken.Anchor(t.Context(), &plan.Graph{Stages: []*plan.Stage{done}}, broken.roots, nil); err == nil {
		t.Error("what is not held is no error")
	}
}
