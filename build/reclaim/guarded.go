package reclaim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
	"github.com/cooperbuild/cooper/internal/flock"
)

// guarded is what of a build can be ended when there is no more space.
type guarded struct {
	mu sync.Mutex
	// guards are the parts of the build that run.
	guards []*part
	// turn is the locked file of whoever ends just now, and since when it is this build; nil: it doesn't end.
	turn  *os.File
	since time.Time
}

// part is a part of a build that can be ended.
type part struct {
	// dir is what it writes to; "": it isn't known, or the part is the whole build.
	dir string
	end context.CancelCauseFunc
}

// Guard gives a context that ends with a *FullError when there is no more space: for a step that writes to a directory,
// or without one for all of the build that is no step. The caller calls release when that has ended.
func (s *Space) Guard(ctx context.Context, dir string) (guarded context.Context, release func()) {
	if s == nil {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	p := &part{dir, end}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guards = append(s.guards, p)
	return ctx, func() {
		end(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		for n, other := range s.guards {
			if other == p {
				s.guards = append(s.guards[:n], s.guards[n+1:]...)
				break
			}
		}
	}
}

// patience is how long the whole build may go on after one of its steps was ended, if there is still too little space.
const patience = 2 * time.Second

// end has the step end that has written most, or what there is else of the build. One build ends at a time: what it has
// written may be enough for the others. Its turn ends with it.
func (s *guarded) end(ctx context.Context, why error, own string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil {
		if time.Since(s.since) > patience {
			for _, p := range s.guards {
				p.end(why)
			}
		}
		return nil
	}
	turn, err := os.OpenFile(filepath.Join(own, "full.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if mine, err := flock.Try(turn, flock.Exclusive); !mine {
		return errors.Join(err, turn.Close())
	}
	s.turn, s.since = turn, time.Now()
	var most *part
	var written int64 = -1
	for _, p := range s.guards {
		var size usage.Size
		if p.dir != "" {
			// What can't be measured counts as far as it was.
			size, _ = usage.Measure(ctx, p.dir)
		}
		if size.Bytes >= written {
			most, written = p, size.Bytes
		}
	}
	if most != nil {
		most.end(why)
	}
	return nil
}

// written is what the steps of this build have written so far, in bytes.
func (s *guarded) written(ctx context.Context) (total int64) {
	s.mu.Lock()
	parts := slices.Clone(s.guards)
	s.mu.Unlock()
	for _, p := range parts {
		if p.dir != "" {
			total += sizeOf(ctx, p.dir)
		}
	}
	return total
}

// settled gives the turn back.
func (s *guarded) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil {
		_ = flock.Release(s.turn) // it is released in any case when the process ends
		s.turn = nil
	}
}

// FullError says that a build has ended because what running builds use and write exceeds the limit.
type FullError struct {
	Limit Limit
	// Needed is what can't be removed, in bytes, of which Written are files that aren't finished.
	Needed, Written int64
}

func (e *FullError) Error() string {
	return fmt.Sprintf("ended at the limit of disk space: running builds use and write %s, more than the %s (%s of it were "+
		"being written)\nhint: raise %s, or have the step write less; cooper df -v shows what else takes space",
		disk.FormatSize(e.Needed), e.Limit, disk.FormatSize(e.Written), e.Limit.By)
}

// Full gives the error of what was done in a context of Guard, which is a *FullError if that has ended it.
func Full(guarded context.Context, err error) error {
	full := new(FullError)
	if err != nil && !errors.As(err, &full) && errors.As(context.Cause(guarded), &full) {
		return full
	}
	return err
}

// AtOnce says that a step is not asked to end, but killed: it would go on writing.
func (e *FullError) AtOnce() {}
