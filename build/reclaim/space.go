package reclaim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Space keeps the disk usage of cooper's own items below a limit while a build runs; a "look" is one measurement of it.
// The nil Space has no limit.
type Space struct {
	keepers keepers
	limit   int64
	to      progress.Sink
	// wake asks the watching goroutine for a look; Settle closes stop to end it, and it closes ended when it has.
	wake, stop, ended chan struct{}
	// grown says that the build has added something to the store, or is about to; Check sets it.
	grown atomic.Bool
	// first is the usage in bytes at the beginning, without the file of digests of context files; -1: it could not be
	// measured. It may be read once ended is closed.
	first int64
}

const (
	// lookShare bounds the time for looks while a build runs: they take at most one part in lookShare of it.
	lookShare = 20
	// smallChange is an upper bound, in bytes, of what a build adds that finds all its steps in the cache: an image
	// without a name and some notes.
	smallChange = 1 << 20
)

// Watch starts watching over a limit in bytes, if there is one: 0 is none. Settle ends it. The first look runs
// in the background while the build goes on.
func Watch(ctx context.Context, d *depot.Depot, limit int64, to progress.Sink) (*Space, error) {
	if limit <= 0 {
		return nil, nil //nolint:nilnil // no limit
	}
	k, err := newKeepers(d)
	if err != nil {
		return nil, err
	}
	s := &Space{
		keepers: k, limit: limit, to: to, first: -1,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go func() {
		defer close(s.ended)
		_ = guard.Call(func() error { s.watch(ctx); return nil }) // Settle meets the same error again and shows it
	}()
	return s, nil
}

func (s *Space) watch(ctx context.Context) {
	if total, err := s.keepers.total(ctx, removal.LookChanged); err == nil {
		s.first = total - disk.Total(s.keepers.stats())
	}
	var next time.Time
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		}
		began := time.Now()
		if began.Before(next) {
			continue // too soon after the last look; Settle looks in any case
		}
		// A failed removal is tried again by Settle.
		_ = s.keep(ctx, removal.LookNoted, false)
		next = time.Now().Add((lookShare - 1) * time.Since(began))
	}
}

// Check asks for a look soon, and doesn't wait for it. The build calls it when it has added something to the store.
func (s *Space) Check() {
	if s == nil {
		return
	}
	s.grown.Store(true)
	select {
	case s.wake <- struct{}{}:
	default: // a look has been asked for already
	}
}

// Settle is called when the build has ended, well or not: it removes unused items if the limit is exceeded. If the user
// has interrupted the build, it does nothing, so that nobody waits.
func (s *Space) Settle(ctx context.Context) {
	if s == nil {
		return
	}
	close(s.stop)
	<-s.ended
	if ctx.Err() != nil || !s.grown.Load() && s.first >= 0 && s.first+disk.Total(s.keepers.stats())+
		smallChange <= s.limit {
		return
	}
	err := s.keep(ctx, removal.LookChanged, true)
	over := new(overLimit)
	switch {
	case errors.As(err, &over):
		s.note("%v", over)
	case err != nil && ctx.Err() == nil:
		s.note("--max-used-space could not be kept to: %v", err)
	}
}

func (s *Space) note(format string, args ...any) {
	s.to.Emit(progress.Note{Text: fmt.Sprintf(format, args...)})
}

// keep removes items until the usage is within the limit. With wait it waits for another process that removes, and
// returns *overLimit if the items in use alone exceed the limit.
func (s *Space) keep(ctx context.Context, look removal.Look, wait bool) error {
	total, err := s.keepers.total(ctx, look)
	if err != nil || total <= s.limit {
		return err
	}
	items, err := s.keepers.items(ctx, look)
	if err != nil {
		return err
	}
	_, removeErr := s.keepers.remove(ctx, disk.Choose(items, disk.Policy{Limit: s.limit, Shared: true}),
		"--max-used-space "+disk.FormatSize(s.limit), wait)
	if removeErr != nil || !wait {
		return removeErr
	}
	if items, err = s.keepers.items(ctx, removal.LookNoted); err != nil {
		return err
	}
	items = ownItems(items)
	if total = disk.Total(items); total > s.limit {
		return &overLimit{limit: s.limit, total: total, items: items}
	}
	return nil
}

// ownItems are the items that are cooper's own: all but images.
func ownItems(items []disk.Item) (own []disk.Item) {
	for _, i := range items {
		if i.Kind != disk.Images {
			own = append(own, i)
		}
	}
	return own
}

// overLimit says that the items in use by running builds exceed the limit; limit and total are in bytes.
type overLimit struct {
	limit, total int64
	items        []disk.Item
}

func (e *overLimit) Error() string {
	var parts []string
	for _, k := range disk.Kinds() {
		var size int64
		for _, i := range e.items {
			if i.Kind == k {
				size += i.Size.Bytes
			}
		}
		if size > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", k, disk.FormatSize(size)))
		}
	}
	return fmt.Sprintf("WARNING: the cache takes %s, more than the %s of --max-used-space: running builds use it (%s)",
		disk.FormatSize(e.total), disk.FormatSize(e.limit), strings.Join(parts, ", "))
}
