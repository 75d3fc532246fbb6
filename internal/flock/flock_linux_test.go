package flock_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
)

func file(t *testing.T, path string, kind flock.Kind) *os.File {
	t.Helper()
	f, err := flock.File(t.Context(), path, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestSharedLocksGoTogetherAndExclusiveOnesDoNot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first, second flock.Kind
		want          bool
	}{
		"shared and shared":       {flock.Shared, flock.Shared, true},
		"shared and exclusive":    {flock.Shared, flock.Exclusive, false},
		"exclusive and shared":    {flock.Exclusive, flock.Shared, false},
		"exclusive and exclusive": {flock.Exclusive, flock.Exclusive, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "lock")
			file(t, path, test.first)
			second, err := flock.TryExisting(path, test.second)
			if err != nil {
				t.Fatal(err)
			}
			if got := second != nil; got != test.want {
				t.Errorf("second lock: got %v, want %v", got, test.want)
			}
			if second != nil {
				_ = second.Close()
			}
		})
	}
}

func TestWaitingEndsWhenTheLockIsGivenBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	held := file(t, path, flock.Exclusive)
	got := make(chan error, 1)
	go func() {
		f, err := flock.Existing(t.Context(), path, flock.Exclusive)
		if err == nil {
			err = f.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("the lock was had while another had it: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestWaitingEndsWithTheContextAndLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held := file(t, path, flock.Exclusive)
	why := errors.New("the user wants no more")
	ctx, cancel := context.WithCancelCause(t.Context())
	before := runtime.NumGoroutine()
	got := make(chan error, 1)
	go func() {
		_, err := flock.File(ctx, path, flock.Shared)
		got <- err
	}()
	cancel(why)
	if err := <-got; !errors.Is(err, why) {
		t.Fatalf("got %v, want the context's cause", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	// Whoever gave up must not have the lock now, nor get it later.
	f, err := flock.TryExisting(path, flock.Exclusive)
	if err != nil || f == nil {
		t.Fatalf("the lock isn't free: %v", err)
	}
	_ = f.Close()
	for n := 0; runtime.NumGoroutine() > before; n++ {
		if n > 1000 {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestAReleasedLockIsFreeWhoeverHasACopyOfTheFile: a process has copies of all open files until its program begins.
func TestAReleasedLockIsFreeWhoeverHasACopyOfTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	held, err := flock.File(t.Context(), path, flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.FcntlInt(held.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	if err := flock.Release(held); err != nil {
		t.Fatal(err)
	}
	free, err := flock.TryExisting(path, flock.Exclusive)
	if err != nil || free == nil {
		t.Fatalf("the lock isn't free: %v", err)
	}
	_ = free.Close()
}

func TestWhatWasReplacedIsNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "entry")
	held := file(t, path, flock.Exclusive)
	got := make(chan error, 1)
	go func() {
		_, err := flock.Existing(t.Context(), path, flock.Exclusive)
		got <- err
	}()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Only once the goroutine has opened the first file is there something to be told apart; if it opens the second one it
	// gets that.
	time.Sleep(5 * time.Millisecond)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want that it doesn't exist", err)
	}
	if _, err := flock.TryExisting(filepath.Join(dir, "missing"), flock.Shared); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want that it doesn't exist", err)
	}
}

func TestLinksAndPipesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	if f, err := flock.File(t.Context(), link, flock.Shared); err == nil {
		_ = f.Close()
		t.Error("a link was followed")
	}
}
