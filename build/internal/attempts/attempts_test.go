package attempts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/attempts"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/progress"
)

// shown are the events of a build, as text.
type shown []string

func (s *shown) Emit(e progress.Event) { *s = append(*s, fmt.Sprintf("%+v", e)) }

func TestABuildBeginsAnewWhereSomethingWasTakenAway(t *testing.T) {
	t.Parallel()
	gone, broken := &rootfs.GoneError{}, &rootfs.BrokenCacheError{Err: errors.New("away")}
	for name, c := range map[string]struct {
		errs  []error
		final bool
		tries int
		said  string
	}{
		"done":           {errs: []error{nil}, tries: 1},
		"failed":         {errs: []error{errors.New("no")}, tries: 1},
		"gone once":      {errs: []error{gone, nil}, tries: 2, said: "another program has removed layers"},
		"cache is away":  {errs: []error{fmt.Errorf("step: %w", broken), nil}, tries: 2, said: "a cache has not got"},
		"gone but final": {errs: []error{gone}, final: true, tries: 1},
		"gone for ever":  {errs: []error{gone, gone, gone, gone, gone, gone, gone, gone, gone, gone}, tries: 10},
	} {
		var all shown
		tries := 0
		got, err := attempts.Persist(t.Context(), &all, func(to progress.Sink) (int, bool, error) {
			to.Emit(progress.StepStarted{ID: 1})
			tries++
			return tries, c.final, c.errs[tries-1]
		})
		if got != c.tries || tries != c.tries || !errors.Is(err, c.errs[len(c.errs)-1]) ||
			!strings.Contains(strings.Join(all, "\n"), c.said) {
			t.Errorf("%s: %d tries, %v:\n%s", name, tries, err, strings.Join(all, "\n"))
		}
		if again := strings.Count(strings.Join(all, "\n"), "building again"); again != c.tries-1 {
			t.Errorf("%s: said %d times that it is built again", name, again)
		}
	}
}

func TestABuildThatIsStoppedDoesNotBeginAnew(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	var all shown
	tries, err := attempts.Persist(ctx, &all, func(progress.Sink) (int, bool, error) {
		stop()
		return 1, false, &rootfs.GoneError{}
	})
	if tries != 1 || !rootfs.Lost(err) || len(all) > 0 {
		t.Errorf("%d, %v, %v", tries, err, all)
	}
}
