package catalog

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/session/sessiontest"
)

func TestTheStepsOfAnImageAreListedFromTheLast(t *testing.T) {
	t.Parallel()
	s := open(t)
	layers := storetest.Stack(t, s.Depot, "", "a", "b")
	s.on(t, "whole", 1, layers, []string{"RUN a", "RUN b"}, "localhost/app:1")
	steps, err := History(t.Context(), s.Session, "app:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, step := range steps {
		got = append(got, step.CreatedBy)
		if step.Size <= 0 || !step.Created.IsZero() {
			t.Errorf("%s has %d bytes, was made at %v", step.CreatedBy, step.Size, step.Created)
		}
	}
	if diff := cmp.Diff([]string{"RUN b", "RUN a"}, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if steps[0].ID != s.ids["whole"] || steps[1].ID != MissingID ||
		!slices.Equal(steps[0].Tags, []string{"localhost/app:1"}) {
		t.Errorf("the steps are images %s and %s, tagged %v", steps[0].ID, steps[1].ID, steps[0].Tags)
	}
}

// TestAnImageMustBeForThePlatformThatIsAskedFor, and of an index it is chosen.
func TestAnImageMustBeForThePlatformThatIsAskedFor(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.index(t, 1, "localhost/both:1", "one", "two")
	s.image(t, "plain", 2, "localhost/plain:1")
	amd, arm := platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")
	for _, name := range []string{"plain:1", "both:1"} {
		d, err := Inspect(t.Context(), s.Session, name, &amd)
		if err != nil || d.Architecture != "amd64" {
			t.Errorf("%s: %s, %v", name, d.Architecture, err)
		}
	}
	_, err := Inspect(t.Context(), s.Session, "plain:1", &arm)
	if !errors.Is(err, images.ErrNoImage) ||
		!strings.HasPrefix(err.Error(), "image plain:1 is for linux/amd64, not for linux/arm64") {
		t.Errorf("got %v", err)
	}
	if _, err := History(t.Context(), s.Session, "plain:1", &arm); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("got %v", err)
	}
}

func TestAStoreThatIsNotThereHasNothingToShow(t *testing.T) {
	t.Parallel()
	s := sessiontest.Closed(t)
	if _, err := Inspect(t.Context(), s, "app:1", nil); !errors.Is(err, ErrNoImage) ||
		err.Error() != "app:1: no such image in the store" {
		t.Errorf("inspected: %v", err)
	}
	if _, err := History(t.Context(), s, "app:1", nil); !errors.Is(err, ErrNoImage) {
		t.Errorf("its history: %v", err)
	}
	if there, err := Has(t.Context(), s, "app:1"); there || err != nil {
		t.Errorf("it has it: %t, %v", there, err)
	}
	if names, err := Names(s); len(names) > 0 || err != nil {
		t.Errorf("its names: %v, %v", names, err)
	}
}

func TestNamesAreToldWithoutOpeningTheStore(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "one", 1, "localhost/b:1", "example.test/a:1")
	s.image(t, "two", 2)
	names, err := Names(s.Session)
	if want := []string{"example.test/a:1", "localhost/b:1"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v", names, err)
	}
	for name, want := range map[string]bool{"b:1": true, "localhost/b:1": true, s.ids["two"]: true, "b:2": false,
		"none": false} {
		if there, err := Has(t.Context(), s.Session, name); there != want || err != nil {
			t.Errorf("%s: %t, %v", name, there, err)
		}
	}
}

func TestTimesAreShownAsOtherToolsShowThem(t *testing.T) {
	t.Parallel()
	for text, nanos := range map[string]int64{"1970-01-01T00:00:01Z": 1_000_000_000,
		"1970-01-01T00:00:01.5Z": 1_500_000_000} {
		if got := (Time{time.Unix(0, nanos).UTC()}).String(); got != text {
			t.Errorf("%s, want %s", got, text)
		}
	}
	if keys := SortKeys(); !slices.IsSorted(keys) || !slices.Contains(keys, "created") {
		t.Errorf("the sort keys are %q", keys)
	}
}
