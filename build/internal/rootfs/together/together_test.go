package together

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestEqualStepsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ctx := New(), context.Background()
		step := Chain("image", "RUN x")
		first, err := g.Begin(ctx, step)
		if err != nil || first.Again {
			t.Fatalf("the first turn is %+v, %v", first, err)
		}
		if other, err := g.Begin(ctx, Chain("another", "RUN x")); err != nil || other.Again {
			t.Fatalf("the same step on another image is %+v, %v", other, err)
		}
		began := make(chan Turn)
		go func() {
			turn, _ := g.Begin(ctx, step)
			began <- turn
		}()
		synctest.Wait()
		select {
		case <-began:
			t.Fatal("two builds are at one step")
		default:
		}
		first.End()
		first.End()
		second := <-began
		if !second.Again || second.Steps != step {
			t.Errorf("the second turn is %+v", second)
		}
		stopped, stop := context.WithCancelCause(ctx)
		cause := errors.New("stopped")
		stop(cause)
		if _, err := g.Begin(stopped, step); !errors.Is(err, cause) {
			t.Errorf("a wait that is stopped ends with %v", err)
		}
		second.End()
	})
}

func TestABuildAloneNeverWaits(t *testing.T) {
	var g *Group
	for range 2 {
		turn, err := g.Begin(context.Background(), "step")
		if err != nil || turn.Again {
			t.Errorf("%+v, %v", turn, err)
		}
	}
}

// TestManyBuildsAreAtAStepOneAfterTheOther, and only the first of them begins anew.
func TestManyBuildsAreAtAStepOneAfterTheOther(t *testing.T) {
	t.Parallel()
	g, inside, first := New(), atomic.Int32{}, atomic.Int32{}
	var builds sync.WaitGroup
	for range 20 {
		builds.Go(func() {
			turn, err := g.Begin(t.Context(), "step")
			if err != nil || inside.Add(1) != 1 {
				t.Errorf("two are at it, %v", err)
			}
			if !turn.Again {
				first.Add(1)
			}
			inside.Add(-1)
			turn.End()
		})
	}
	builds.Wait()
	if first.Load() != 1 {
		t.Errorf("%d began anew", first.Load())
	}
}
