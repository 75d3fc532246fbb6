package scratch_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/internal/flock"
)

// TestDirectoriesThatAreBeingMadeSurviveTheSweepsOfOthers as when many builds begin at once.
func TestDirectoriesThatAreBeingMadeSurviveTheSweepsOfOthers(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	var sweeping, making sync.WaitGroup
	stop := make(chan struct{})
	sweeping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			other, err := scratch.Open(filepath.Dir(tmp))
			if err = errors.Join(err, other.Sweep(t.Context(), none)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 4 {
		making.Go(func() {
			for range 20 {
				dir, remove, err := r.Tree(t.Context(), "tree")
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()
	close(stop)
	sweeping.Wait()
	if left := names(t, tmp); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestALayerIsRemovedBeforeTheDirectoryThatNamesIt since nobody would know of it afterwards.
func TestALayerIsRemovedBeforeTheDirectoryThatNamesIt(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	abandon(t, filepath.Join(tmp, "dead"), map[string]string{"layer": "id", "lock": ""})
	var removed []string
	if err := r.Sweep(t.Context(), func(id string) error {
		if left := names(t, tmp); !slices.Equal(left, []string{"dead"}) {
			t.Errorf("when the layer is removed there is %q", left)
		}
		removed = append(removed, id)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if left := names(t, tmp); len(left) > 0 || !slices.Equal(removed, []string{"id"}) {
		t.Errorf("removed %q, left %q", removed, left)
	}
	done, err := r.ForLayer(t.Context(), "alive")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Sweep(t.Context(), none); err != nil {
		t.Errorf("the layer of a process that lives: %v", err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
}

// TestWaitingForSweepsCanBeInterrupted and nothing is made.
func TestWaitingForSweepsCanBeInterrupted(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	sweeps, err := flock.File(t.Context(), filepath.Join(filepath.Dir(tmp), "making.lock"), flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer sweeps.Close()
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, _, errDir := r.Dir(ctx)
	_, _, errTree := r.Tree(ctx, "tree")
	_, errLayer := r.ForLayer(ctx, "id")
	for name, err := range map[string]error{"Dir": errDir, "Tree": errTree, "ForLayer": errLayer,
		"Sweep": r.Sweep(ctx, none)} {
		if !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := names(t, tmp); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestADirectoryGoesWhateverItsModes as overlay's work directory, whose mode is 0, and not what its links lead to.
func TestADirectoryGoesWhateverItsModes(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o500); err != nil {
		t.Fatal(err)
	}
	dir, remove, err := r.Dir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(dir, "a", "b")
	if err := errors.Join(os.MkdirAll(deep, 0o700), os.WriteFile(filepath.Join(deep, "f"), nil, 0),
		os.Symlink(outside, filepath.Join(deep, "link")), unix.Mkfifo(filepath.Join(deep, "pipe"), 0),
		os.Chmod(deep, 0), os.Chmod(filepath.Dir(deep), 0)); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("what the link leads to is %v, %v", info, err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still in %s: %v", tmp, err)
	}
}
