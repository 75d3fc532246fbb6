package outputs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
)

func TestStagesHaveImagesThatSayWhichTheyAre(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{Image: ImageOptions{SaveStages: true, LabelStages: true}})
	one := r.stage(t, run("one", "a=1"))
	one.Name = "one"
	two := &plan.Stage{Name: "two", Image: one.Image, Last: one.Last}
	last := r.stage(t, run("last", "b=1"))
	last.Name = "2"
	if err := r.SaveStages(t.Context(), []*plan.Stage{one, two, last}, []*plan.Stage{last}, r.roots); err != nil {
		t.Fatal(err)
	}
	r.finish(t, []string{"localhost/app:1"}, last)

	listed, err := r.Depot.Images.List()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{} // by the name of the stage
	bases := map[string]string{}
	for _, l := range listed {
		labels := l.Image.Config.Labels
		ids[labels[labelStageName]], bases[labels[labelStageName]] = l.ID, labels[labelStageBase]
		if l.Cached || !strings.HasPrefix(l.Image.History[len(l.Image.History)-1].CreatedBy, `LABEL "io.buildah.stage.name"=`) {
			t.Errorf("%+v", l)
		}
	}
	want := map[string]string{"one": "scratch", "two": ids["one"], "2": "scratch"}
	if diff := cmp.Diff(want, bases); diff != "" {
		t.Errorf("bases by stage (-want +got)\n%s", diff)
	}
}

func TestTheImageOfAStageIsListedThoughTheCacheHadIt(t *testing.T) {
	t.Parallel()
	r := newRoom(t, Options{Image: ImageOptions{SaveStages: true}})
	stage := r.stage(t, run("one", "a=1"))
	shown := func() (all []images.Listed) {
		listed, err := r.Depot.Images.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range listed {
			if !l.Cached {
				all = append(all, l)
			}
		}
		return all
	}
	r.finish(t, nil, stage)
	if all := shown(); len(all) > 0 {
		t.Errorf("an image that nobody has named is listed: %+v", all)
	}
	if err := r.SaveStages(t.Context(), []*plan.Stage{stage}, nil, r.roots); err != nil {
		t.Fatal(err)
	}
	if all := shown(); len(all) != 1 {
		t.Errorf("got %+v", all)
	}
}
