package solve_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/solve"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/internal/guard"
)

// graph makes a plan whose step i depends on deps[i].
func graph(deps ...[]int) *plan.Graph {
	g := &plan.Graph{}
	for i, ds := range deps {
		s := &plan.Step{ID: i}
		for _, d := range ds {
			s.Deps = append(s.Deps, g.Steps[d])
		}
		g.Steps = append(g.Steps, s)
	}
	return g
}

func TestEveryStepRunsOnceAfterWhatItNeeds(t *testing.T) {
	g := graph(nil, []int{0}, []int{0}, []int{1, 2}, nil, []int{3, 4})
	var runs atomic.Int32
	results, err := solve.Run(t.Context(), g, 3, func(_ context.Context, s *plan.Step, done func(*plan.Step) int) (int,
		error) {
		runs.Add(1)
		sum := 1
		for _, d := range s.Deps {
			if done(d) == 0 {
				t.Errorf("step %d started before step %d was done", s.ID, d.ID)
			}
			sum += done(d)
		}
		return sum, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if runs.Load() != 6 || results[5] != 7 {
		t.Errorf("%d runs, results %v", runs.Load(), results)
	}
}

func TestIndependentStepsRunAtTheSameTime(t *testing.T) {
	var together sync.WaitGroup
	together.Add(4)
	_, err := solve.Run(t.Context(), graph(nil, nil, nil, nil), 4,
		func(context.Context, *plan.Step, func(*plan.Step) int) (int, error) {
			together.Done()
			together.Wait() // hangs unless all four are running
			return 0, nil
		})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoMoreThanTheLimitRunAtOnce(t *testing.T) {
	var now, most atomic.Int32
	deps := make([][]int, 50)
	_, err := solve.Run(t.Context(), graph(deps...), 2, func(context.Context, *plan.Step, func(*plan.Step) int) (int,
		error) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		now.Add(-1)
		return 0, nil
	})
	if err != nil || most.Load() > 2 {
		t.Errorf("%d at once, error %v", most.Load(), err)
	}
}

func TestAFailureStopsTheOthersAndIsTheOneReported(t *testing.T) {
	boom := errors.New("boom")
	started := make(chan struct{})
	_, err := solve.Run(t.Context(), graph(nil, nil, []int{1}), 2,
		func(ctx context.Context, s *plan.Step, _ func(*plan.Step) int) (int, error) {
			switch s.ID {
			case 0:
				close(started)
				<-ctx.Done()
				return 0, ctx.Err()
			case 1:
				<-started
				return 0, boom
			}
			t.Error("a step ran although what it needs failed")
			return 0, nil
		})
	if !errors.Is(err, boom) {
		t.Errorf("error %v, want boom", err)
	}
}

func TestACancelledBuildReportsWhy(t *testing.T) {
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := solve.Run(ctx, graph(nil, []int{0}), 1, func(context.Context, *plan.Step, func(*plan.Step) int) (int,
		error) {
		cancel(why)
		return 0, nil
	})
	if !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}

func TestAStepThatPanicsFails(t *testing.T) {
	_, err := solve.Run(t.Context(), graph(nil, nil, []int{0, 1}), 2,
		func(_ context.Context, s *plan.Step, _ func(*plan.Step) int) (int, error) {
			if s.ID == 0 {
				panic("a fault")
			}
			return 1, nil
		})
	if p := new(guard.Panic); !errors.As(err, &p) {
		t.Errorf("got %v, want a panic's error", err)
	}
}
