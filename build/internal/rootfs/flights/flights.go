// Package flights lets builds that run at once, in whatever processes, run equal steps once: who comes to a step that
// another build is at waits until that has recorded its result, and goes on alone if there is none, because the other
// failed or was killed.
//
// A step is in the air from before it is run until its result is recorded. Two locks of files stand for that. One is
// named after the key of the result, which says exactly which step it is. But a build may begin a step before it knows
// that key, since the layer below is still being read. So there is another lock, named after all that is known at once:
// the image, and the steps from there on. Who has it alone doesn't know its key yet; who shares it does, or finds it
// out before the step begins, since another build may be at the same one.
//
// No circle of builds can wait for each other: who waits has no locks but those of other steps of its build, which run
// and end whatever it waits for, and a shared one that nobody waits for who is not about to find out a key. The kernel
// gives the locks of a killed process back. The last to have a lock removes its file, and what killed builds have left
// is removed by the next build that runs a step.
package flights

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/guard"
)

// The names of lock files begin with one of these.
const (
	chainPrefix = "chain-"
	keyPrefix   = "key-"
)

// Room is where the builds of a store see which steps are in the air. It is safe for concurrent use.
type Room struct {
	cache *cache.Cache
	begin sync.Once
	// dir is set once a step has begun.
	dir string
}

// New makes the room of a build; its locks are in a directory of the store's cache.
func New(c *cache.Cache) *Room { return &Room{cache: c} }

// A Step is one that is about to be run.
type Step struct {
	// Chain stands for all that is known of the step and those before it.
	Chain string
	// Key gives the key of the step's result, for which it may have to wait.
	Key func(ctx context.Context) (cache.Key, error)
	// Ready tells whether Key would give it at once.
	Ready func() bool
	// Alone tells that the step is run whatever others do.
	Alone bool
	// Waits is called before the step waits for another build's.
	Waits func()
}

// A Flight is a step in the air. The caller calls End when its result is recorded, or will never be.
type Flight struct {
	stop context.CancelFunc
	// named ends when the key of a step that began without it has its lock.
	named sync.WaitGroup
	// chain and keyed are the locked files; nil: there can be no locks, or another build has the lock.
	chain, keyed *flock.Convertible
}

// End lets others go on. A nil Flight has nothing to end.
func (f *Flight) End() {
	if f == nil {
		return
	}
	if f.stop != nil {
		f.stop()
	}
	f.named.Wait()
	drop(f.keyed)
	drop(f.chain)
}

// Begin begins a step, once no other build is at an equal one. Another tells that one was: the cache may have the
// result now. If there can be no locks the step begins at once. The error is the cause of the end of the context, or
// Key's.
func (r *Room) Begin(ctx context.Context, s Step) (f *Flight, another bool, err error) {
	r.begin.Do(r.sweep)
	f = new(Flight)
	name := chainPrefix + s.Chain
	if f.chain, another = r.try(name); another && !s.Alone {
		if f.chain, err = r.take(ctx, name, flock.Shared); err != nil {
			return nil, false, err
		}
	} else if s.Alone || !s.Ready() {
		f.nameLater(ctx, r, s)
		return f, false, nil
	}
	if another, err = f.name(ctx, r, s); err != nil {
		f.End()
		return nil, false, err
	}
	return f, another, nil
}

// name takes the lock that is named after the key of the step, and shares the other one.
func (f *Flight) name(ctx context.Context, r *Room, s Step) (another bool, err error) {
	key, err := s.Key(ctx)
	if err != nil {
		return false, err
	}
	name := keyPrefix + string(key)
	f.keyed, another = r.try(name)
	if f.chain != nil {
		_, _ = f.chain.Try(flock.Shared) // it is less than the lock was, so nobody can be in the way
	}
	if !another || s.Alone {
		return false, nil
	}
	s.Waits()
	f.keyed, err = r.take(ctx, name, flock.Exclusive)
	return true, err
}

// nameLater does what name does for a step that begins meanwhile and waits for nobody. Without a key the step is run
// all the same, and whoever needs the key gets the error.
func (f *Flight) nameLater(ctx context.Context, r *Room, s Step) {
	ctx, f.stop = context.WithCancel(ctx)
	s.Alone = true
	f.named.Go(func() {
		_ = guard.Call(func() error { _, err := f.name(ctx, r, s); return err })
	})
}

// take waits for the lock of a name. It is nil if there can be none.
func (r *Room) take(ctx context.Context, name string, kind flock.Kind) (*flock.Convertible, error) {
	for {
		f, err := r.open(name)
		if err != nil {
			return nil, nil //nolint:nilerr,nilnil // without locks the step is run at once
		}
		if err := f.Lock(ctx, kind); err != nil {
			_ = f.Close() // it was never written to
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, nil //nolint:nilnil // without locks the step is run at once
		}
		if isNamed(f) {
			return f, nil
		}
		_ = f.Close() // whoever had the lock has removed it
	}
}

// try takes the lock of a name unless another build has it.
func (r *Room) try(name string) (f *flock.Convertible, another bool) {
	for {
		f, err := r.open(name)
		if err != nil {
			return nil, false
		}
		got, err := f.Try(flock.Exclusive)
		if got && isNamed(f) {
			return f, false
		}
		_ = f.Close() // it was never written to
		if !got {
			return nil, err == nil
		}
	}
}

// open opens the file with the lock of a name.
func (r *Room) open(name string) (*flock.Convertible, error) {
	f, err := os.OpenFile(filepath.Join(r.dir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	return &flock.Convertible{File: f}, err
}

// isNamed tells whether an open file still has its name.
func isNamed(f *flock.Convertible) bool {
	locked, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(locked, now)
}

// drop gives a lock back, and removes its file unless others share it.
func drop(f *flock.Convertible) {
	if f == nil {
		return
	}
	if last, err := f.Try(flock.Exclusive); last && err == nil {
		_ = os.Remove(f.Name()) // if it stays, the next build removes it
	}
	_ = f.Release() // closing the file gives the lock back in any case
}

// sweep makes the directory, and removes what killed builds have left in it.
func (r *Room) sweep() {
	r.dir = r.cache.Flights()
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		_ = os.Mkdir(r.dir, 0o700) // without it there are no locks
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, chainPrefix) || strings.HasPrefix(name, keyPrefix) {
			if f, another := r.try(name); !another {
				drop(f)
			}
		}
	}
}
