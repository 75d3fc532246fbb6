package solve

import (
	"context"
	"errors"
	"sync"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Do carries out one step. done gives the results of the step's dependencies; it must not be asked for others.
type Do[R any] func(ctx context.Context, step *plan.Step, done func(*plan.Step) R) (R, error)

// Run carries out every step of a graph and returns their results by step ID. At most limit steps run at once (at
// least one does). When a step fails, the context of those running is cancelled with the failure as its cause, no other
// is started, and Run returns after all have ended, with that failure. A cancelled context ends it in the same way with
// the context's cause. If all went well the context that the steps were given lives on until ctx ends, for the sake of
// work that they left running.
func Run[R any](ctx context.Context, g *plan.Graph, limit int, do Do[R]) ([]R, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run[R]{
		graph: g, do: do, cancel: cancel,
		results: make([]R, len(g.Steps)), waiting: make([]int, len(g.Steps)), users: make([][]int, len(g.Steps)),
		ready: make(chan *plan.Step, len(g.Steps)),
	}
	r.start()
	var workers sync.WaitGroup
	for range min(max(limit, 1), max(len(g.Steps), 1)) {
		workers.Go(func() { r.work(ctx) })
	}
	workers.Wait()
	if r.failed != nil {
		return r.results, r.failed
	}
	if ctx.Err() != nil {
		cancel(nil)
		return r.results, context.Cause(ctx)
	}
	return r.results, nil
}

type run[R any] struct {
	graph  *plan.Graph
	do     Do[R]
	cancel context.CancelCauseFunc
	// ready has room for every step, so that nobody ever waits to write to it.
	ready chan *plan.Step

	mu      sync.Mutex
	results []R
	// waiting counts the dependencies of a step that are not done, users lists who depends on it.
	waiting []int
	users   [][]int
	left    int
	failed  error
}

func (r *run[R]) start() {
	r.left = len(r.graph.Steps)
	for _, s := range r.graph.Steps {
		r.waiting[s.ID] = len(s.Deps)
		for _, d := range s.Deps {
			r.users[d.ID] = append(r.users[d.ID], s.ID)
		}
		if len(s.Deps) == 0 {
			r.ready <- s
		}
	}
	if r.left == 0 {
		close(r.ready)
	}
}

func (r *run[R]) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-r.ready:
			if !ok || ctx.Err() != nil {
				return
			}
			var result R
			err := guard.Call(func() (err error) {
				result, err = r.do(ctx, s, r.result)
				return err
			})
			r.finish(s, result, err)
		}
	}
}

func (r *run[R]) result(s *plan.Step) R {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results[s.ID]
}

func (r *run[R]) finish(s *plan.Step, result R, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[s.ID] = result
	if err != nil {
		// What the others report once they are cancelled is not why the build failed.
		if r.failed == nil || errors.Is(r.failed, context.Canceled) {
			r.failed = err
		}
		r.cancel(err)
		return
	}
	for _, id := range r.users[s.ID] {
		if r.waiting[id]--; r.waiting[id] == 0 {
			r.ready <- r.graph.Steps[id]
		}
	}
	if r.left--; r.left == 0 {
		close(r.ready)
	}
}
