package scratch_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store/scratch"
)

func open(t *testing.T) (r *scratch.Room, tmp string) {
	t.Helper()
	own := t.TempDir()
	r, err := scratch.Open(own)
	if err != nil {
		t.Fatal(err)
	}
	return r, filepath.Join(own, "tmp")
}

func none(string) error { return errors.New("there is no layer") }

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// abandon makes a directory as a process leaves it that was killed some time ago.
func abandon(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(dir, long, long); err != nil {
		t.Fatal(err)
	}
}

func TestSweepingTakesWhatDeadProcessesLeftAndNothingElse(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	mine, remove, err := r.Dir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	abandon(t, filepath.Join(tmp, "dead"), map[string]string{"lock": "", "file": "x"})
	abandon(t, filepath.Join(tmp, "lockless"), nil)
	abandon(t, filepath.Join(tmp, "withlayer"), map[string]string{"lock": "", "layer": "abc"})
	if err := os.Mkdir(filepath.Join(tmp, "dead", "closed"), 0); err != nil { // as overlay makes its work directory
		t.Fatal(err)
	}
	var layers []string
	// The process that has the directory may be this one.
	if err := r.Sweep(t.Context(), func(id string) error { layers = append(layers, id); return nil }); err != nil {
		t.Fatal(err)
	}
	if left := names(t, tmp); !slices.Equal(left, []string{filepath.Base(mine)}) ||
		!slices.Equal(layers, []string{"abc"}) {
		t.Errorf("left: %v; layers removed: %v", left, layers)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if left := names(t, tmp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestALayerThatCannotBeRemovedKeepsItsNote(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	done, err := r.ForLayer(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Sweep(t.Context(), none); err != nil { // it is being made
		t.Fatal(err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	abandon(t, filepath.Join(tmp, "dead"), map[string]string{"lock": "", "layer": "abc"})
	if err := r.Sweep(t.Context(), none); err == nil {
		t.Error("no error")
	}
	if left := names(t, tmp); !slices.Equal(left, []string{"dead"}) {
		t.Errorf("left: %v", left)
	}
}

func TestATreeIsForEverybody(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	dir, remove, err := r.Tree(t.Context(), "tree")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 || filepath.Base(dir) != "tree" {
		t.Errorf("%s: %v, %v", dir, info, err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if left := names(t, tmp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestFilesHaveNoNames(t *testing.T) {
	t.Parallel()
	r, tmp := open(t)
	f, err := r.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if left := names(t, tmp); len(left) > 0 {
		t.Errorf("names: %v", left)
	}
	if _, err := scratch.FileIn(filepath.Join(tmp, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

func TestSweepingADirectoryThatIsYoungWaitsForItsLock(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	if err := os.Mkdir(filepath.Join(base, "young"), 0o700); err != nil {
		t.Fatal(err)
	}
	why := errors.New("the user wants no more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := scratch.SweepStaging(ctx, base); !errors.Is(err, why) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if left := names(t, base); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if err := scratch.SweepStaging(t.Context(), base); err != nil { // no lock comes
		t.Fatal(err)
	}
	if left := names(t, base); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := scratch.SweepStaging(t.Context(), filepath.Join(base, "none")); err != nil {
		t.Error(err)
	}
}
