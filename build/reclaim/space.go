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

// Space keeps what is cooper's own within a limit while a build runs. The nil Space has no limit.
type Space struct {
	keepers keepers
	limit   int64
	to      progress.Sink
	// wake asks for a look, stop for no more of them, and ended is closed after the last one.
	wake, stop, ended chan struct{}
	// grown says that the build has kept something, or will.
	grown atomic.Bool
	// first is what the look at the beginning has found, but for the digests of context files; -1: nothing. It is there
	// once ended is closed.
	first int64
}

const (
	// lookShare is the part of the time that looks may take while a build runs: one of so many.
	lookShare = 20
	// smallChange is more than what a build adds that finds everything in the cache, in bytes: an image without a name and
	// some notes.
	smallChange = 1 << 20
)

// Watch starts watching over a limit in bytes, if there is one: 0 is none. Settle ends it. The first look goes on
// beside the build, which has no need to wait for it.
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
		_ = guard.Call(func() error { s.watch(ctx); return nil }) // what is amiss comes out again at the end
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
			continue // the end of the build looks in any case
		}
		// What fails now is tried again at the end.
		_ = s.keep(ctx, removal.LookNoted, false)
		next = time.Now().Add((lookShare - 1) * time.Since(began))
	}
}

// Check has somebody look soon: something is kept that wasn't there before. It doesn't wait.
func (s *Space) Check() {
	if s == nil {
		return
	}
	s.grown.Store(true)
	select {
	case s.wake <- struct{}{}:
	default: // there will be a look already
	}
}

// Settle is called when the build has ended, well or not: whatever it doesn't use goes, if the limit asks for that. A
// user who has interrupted the build doesn't wait for it.
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

// keep removes what the limit asks for. With wait it waits for another process that removes, and gives *overLimit if
// what is in use takes too much alone.
func (s *Space) keep(ctx context.Context, look removal.Look, wait bool) error {
	total, err := s.keepers.total(ctx, look)
	if err != nil || total <= s.limit {
		return err
	}
	items, err := s.keepers.items(ctx, look)
	if err != nil {
		return err
	}
	_, removeErr := s.keepers.remove(ctx, disk.Choose(items, disk.Policy{Limit: s.limit, Shared: true}), wait)
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

// ownItems are those that are cooper's own.
func ownItems(items []disk.Item) (own []disk.Item) {
	for _, i := range items {
		if i.Kind != disk.Images {
			own = append(own, i)
		}
	}
	return own
}

// overLimit says that what running builds use takes more than the limit.
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
