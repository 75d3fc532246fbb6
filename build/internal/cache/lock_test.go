package cache_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

func TestOnlyOneHoldsALock(t *testing.T) {
	c, dir := open(t)
	other, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := cache.NewKey("run").Key()
	var held, times atomic.Int32
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			unlock, err := []*cache.Cache{c, other}[i%2].Lock(t.Context(), k)
			if err != nil {
				t.Error(err)
				return
			}
			if n := held.Add(1); n != 1 {
				t.Errorf("%d hold the lock", n)
			}
			times.Add(1)
			held.Add(-1)
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if times.Load() != 20 {
		t.Errorf("%d had the lock", times.Load())
	}
}

func TestOtherKeysAreNotLocked(t *testing.T) {
	c, _ := open(t)
	var keys []cache.Key // two that share no file
	for i := 0; len(keys) < 2; i++ {
		k := cache.NewKey("run").Add("n", string(rune('a'+i))).Key()
		if len(keys) == 0 || k[:2] != keys[0][:2] {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		unlock, err := c.Lock(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock() //nolint:errcheck // closing a lock file
	}
}

func TestWhoWaitsForALockCanBeInterrupted(t *testing.T) {
	c, _ := open(t)
	k := cache.NewKey("run").Key()
	unlock, err := c.Lock(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	stopped := errors.New("stopped by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	waits := make(chan error)
	go func() {
		_, err := c.Lock(ctx, k)
		waits <- err
	}()
	cancel(stopped)
	if err := <-waits; !errors.Is(err, stopped) || !strings.HasPrefix(err.Error(), "lock cache: ") {
		t.Errorf("got %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, before it were %d", after, before)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	// The one that gave up has left no lock behind.
	again, err := c.Lock(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

// descriptors counts the open files of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestALockThatCannotBeTakenIsAnError(t *testing.T) {
	c, dir := open(t)
	if err := os.RemoveAll(filepath.Join(dir, "locks")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lock(t.Context(), cache.NewKey("run").Key()); !errors.Is(err, os.ErrNotExist) ||
		!strings.HasPrefix(err.Error(), "lock cache: ") {
		t.Errorf("got %v", err)
	}
}
