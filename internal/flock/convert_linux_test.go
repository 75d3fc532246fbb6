package flock_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cooperbuild/cooper/internal/flock"
)

func convertible(t *testing.T, path string) flock.Convertible {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return flock.Convertible{File: f}
}

// TestNobodyGetsALockWhileItIsConverted has one convert its lock again and again, while others try to take it alone.
func TestNobodyGetsALockWhileItIsConverted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	mine := convertible(t, path)
	if got, err := mine.Try(flock.Exclusive); err != nil || !got {
		t.Fatalf("%v, %v", got, err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		other := convertible(t, path)
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := other.Try(flock.Exclusive); got || err != nil {
					t.Errorf("another has it: %v, %v", got, err)
					return
				}
			}
		})
	}
	for range 5000 {
		toShared, err := mine.Try(flock.Shared)
		back, again := mine.Try(flock.Exclusive)
		if err := errors.Join(err, again); err != nil || !toShared || !back {
			t.Fatalf("it can't be converted: %v, %v, %v", toShared, back, err)
		}
	}
	close(stop)
	others.Wait()
}

func TestALockThatCantBeConvertedStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	one, two, three := convertible(t, path), convertible(t, path), convertible(t, path)
	for _, c := range []flock.Convertible{one, two} {
		if got, err := c.Try(flock.Shared); err != nil || !got {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if got, err := one.Try(flock.Exclusive); err != nil || got {
		t.Errorf("two share it, and one has it alone: %v", err)
	}
	if err := two.Release(); err != nil {
		t.Fatal(err)
	}
	if got, err := three.Try(flock.Exclusive); err != nil || got {
		t.Errorf("it was lost by trying: %v", err)
	}
	if err := one.Release(); err != nil {
		t.Fatal(err)
	}
	if err := three.Lock(t.Context(), flock.Exclusive); err != nil {
		t.Error(err)
	}
}
