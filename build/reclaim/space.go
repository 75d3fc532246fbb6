package reclaim

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	limit   Limit
	share   Share
	to      progress.Sink
	// wake asks the watching goroutine for a look; Settle closes stop to end it, and it closes ended when it has.
	wake, stop, ended chan struct{}
	// grown says that the build has added something to the store, or is about to; Check sets it.
	grown atomic.Bool
	// first is the usage in bytes at the beginning, without the file of digests of context files; -1: it could not be
	// measured. It may be read once ended is closed.
	first int64
	guarded
}

// Limit is how much disk space may be used.
type Limit struct {
	// Bytes is the limit; 0: there is none.
	Bytes int64
	// By names, for people, the flag, variable or setting that says so.
	By string
}

// Share is how much disk space what builds of a project have made may use. The zero value is no limit.
type Share struct {
	Limit
	// Project is a directory or a URL; the contexts that it is or that are below it are the project's.
	Project string
}

func (l Limit) String() string { return disk.FormatSize(l.Bytes) + " of " + l.By }

const (
	// lookShare bounds the time for looks while a build runs: they take at most one part in lookShare of it, and
	// one in hastyShare if the file system has lost as much free space as was left of the limit.
	lookShare, hastyShare = 20, 4
	// glance is the time between two questions to the file system how much is free, and rest the longest time between two
	// looks that take no time: what somebody else gives back hides what the build writes.
	glance, rest = 50 * time.Millisecond, time.Second
	// smallChange is an upper bound, in bytes, of what a build adds that finds all its steps in the cache: an image
	// without a name and some notes.
	smallChange = 1 << 20
)

// Watch starts watching over the limits, if there are any. Settle ends it. The first look runs in the background while
// the build goes on.
func Watch(ctx context.Context, d *depot.Depot, limit Limit, share Share, to progress.Sink) (*Space, error) {
	if limit.Bytes <= 0 && share.Bytes <= 0 {
		return nil, nil //nolint:nilnil // no limit
	}
	k, err := newKeepers(d)
	if err != nil {
		return nil, err
	}
	s := &Space{
		keepers: k, limit: limit, share: share, to: to, first: -1,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go func() {
		defer close(s.ended)
		_ = guard.Call(func() error { s.watch(ctx); return nil }) // Settle meets the same error again and shows it
	}()
	return s, nil
}

func (s *Space) watch(ctx context.Context) {
	var p pace
	own := s.keepers.store.Paths().Own
	free, began := freeOn(own), time.Now()
	if total, err := s.keepers.total(ctx, removal.LookChanged); err == nil {
		s.first = total - disk.Total(s.keepers.stats())
		p.looked(began, free, 0)
	}
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	for asked := false; ; {
		select {
		case <-s.stop:
			return
		case <-s.wake:
			asked = true
		case <-ticks.C:
		}
		if free, began = freeOn(own), time.Now(); !p.due(began, free, asked) {
			continue
		}
		asked = false
		left, _ := s.hold(ctx) // a failed removal is tried again, and at last by Settle
		p.looked(began, free, left)
	}
}

// pace says when it is time for a look.
type pace struct {
	began, ended time.Time
	// free is what the file system had left at the last look, and left what the limit had; both in bytes.
	free, left int64
}

func (p *pace) looked(began time.Time, free, left int64) {
	*p = pace{began: began, ended: time.Now(), free: free, left: left}
}

// due tells whether it is time for a look, which somebody may have asked for.
func (p *pace) due(now time.Time, free int64, asked bool) bool {
	took, since, fell := p.ended.Sub(p.began), now.Sub(p.ended), p.free-free
	switch {
	case fell >= p.left && fell > 0:
		return since >= (hastyShare-1)*took
	case asked, fell >= p.left/2 && fell > 0, since >= rest:
		return since >= (lookShare-1)*took
	}
	return false
}

// hold removes items while the usage and what running builds are writing exceed a limit, and has the build end if that
// doesn't help. It gives the bytes that the limits had left before.
func (s *Space) hold(ctx context.Context) (left int64, err error) {
	left = math.MaxInt64
	if s.limit.Bytes > 0 {
		total, err := s.keepers.total(ctx, removal.LookChanged)
		if err != nil {
			return 0, err
		}
		// In this order: what becomes a layer meanwhile must not count twice.
		pending := s.keepers.unfinished(ctx)
		if left = s.limit.Bytes - total - pending; left < 0 {
			items, err := s.keepers.items(ctx, removal.LookNoted)
			if err != nil {
				return left, err
			}
			if err := s.make(ctx, Share{Limit: s.limit}, items, pending); err != nil {
				return left, err
			}
		}
	}
	if s.share.Bytes > 0 {
		items, err := s.keepers.items(ctx, removal.LookChanged)
		if err != nil {
			return left, err
		}
		pending := s.written(ctx)
		of := s.share.Bytes - disk.Total(s.share.of(items)) - pending
		if left = min(left, of); of < 0 {
			return left, s.make(ctx, s.share, items, pending)
		}
	}
	return left, nil
}

// make makes space for what is being written by removing items, or has the build end if that can't be enough.
func (s *Space) make(ctx context.Context, within Share, items []disk.Item, pending int64) error {
	chosen := disk.Choose(ownItems(items), within.policy(pending))
	needed := disk.Total(within.of(items)) - disk.Total(within.of(chosen)) + pending
	if needed > within.Bytes && s.grown.Load() {
		return s.end(ctx, &FullError{Limit: within.Limit, Needed: needed, Written: pending}, s.keepers.store.Paths().Own)
	}
	_, err := s.keepers.remove(ctx, chosen, within.evicts(), false)
	return err
}

// of are the items that count: cooper's own, of the project if there is one.
func (s Share) of(items []disk.Item) (some []disk.Item) {
	for _, i := range ownItems(items) {
		if s.Project == "" || disk.InProject(i.Project, s.Project) {
			some = append(some, i)
		}
	}
	return some
}

// policy chooses what is to go so that this many bytes can be written.
func (s Share) policy(pending int64) disk.Policy {
	return disk.Policy{Limit: max(1, s.Bytes-pending), Shared: true, Project: s.Project}
}

// evicts is how the limit is named where somebody asks what has removed a result.
func (l Limit) evicts() string { return l.By + " " + disk.FormatSize(l.Bytes) }

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
	defer s.settled()
	small := s.limit.Bytes <= 0 || s.first >= 0 && s.first+disk.Total(s.keepers.stats())+smallChange <= s.limit.Bytes
	if ctx.Err() != nil || !s.grown.Load() && small {
		return
	}
	for _, within := range []Share{{Limit: s.limit}, s.share} {
		if within.Bytes <= 0 {
			continue
		}
		err := s.keep(ctx, within)
		over := new(overLimit)
		switch {
		case errors.As(err, &over):
			s.note("%v", over)
		case err != nil && ctx.Err() == nil:
			s.note("%s could not be kept to: %v", within.By, err)
		}
	}
}

func (s *Space) note(format string, args ...any) {
	s.to.Emit(progress.Note{Text: fmt.Sprintf(format, args...)})
}

// keep removes items until the usage is within the limit. It waits for another process that removes, and returns
// *overLimit if the items in use alone exceed the limit.
func (s *Space) keep(ctx context.Context, within Share) error {
	if within.Project == "" {
		total, err := s.keepers.total(ctx, removal.LookChanged)
		if err != nil || total <= within.Bytes {
			return err
		}
	}
	items, err := s.keepers.items(ctx, removal.LookChanged)
	if err != nil || disk.Total(within.of(items)) <= within.Bytes {
		return err
	}
	if _, err = s.keepers.remove(ctx, disk.Choose(items, within.policy(0)), within.evicts(), true); err != nil {
		return err
	}
	if items, err = s.keepers.items(ctx, removal.LookNoted); err != nil {
		return err
	}
	items = within.of(items)
	if total := disk.Total(items); total > within.Bytes {
		return &overLimit{limit: within.Limit, total: total, items: items}
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

// overLimit says that the items in use by running builds exceed the limit; total is in bytes.
type overLimit struct {
	limit Limit
	total int64
	items []disk.Item
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
	return fmt.Sprintf("WARNING: the cache takes %s, more than the %s: running builds use it (%s)",
		disk.FormatSize(e.total), e.limit, strings.Join(parts, ", "))
}
