package fsys_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// names lists a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestAReplacedFileIsTheOldOneOrTheNewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "f")
	if err := fsys.Replace(path, nil, fsys.ReplaceOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
	when := time.Unix(1_000_000_000, 0)
	if err := fsys.Replace(path, []byte("one"), fsys.ReplaceOptions{MakeDirs: true, Sync: true,
		Modified: when}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 || !info.ModTime().Equal(when) {
		t.Errorf("the file is %v, %v", info, err)
	}

	// Who reads meanwhile sees one of the texts, whole.
	texts := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<17)}
	if err := fsys.Replace(path, texts[0], fsys.ReplaceOptions{}); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, text := range texts {
		writers.Go(func() {
			for range 100 {
				if err := fsys.Replace(path, text, fsys.ReplaceOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 100 {
		got, err := os.ReadFile(path)
		if err != nil || !slices.ContainsFunc(texts, func(text []byte) bool { return bytes.Equal(got, text) }) {
			t.Fatalf("%d bytes are read, %v", len(got), err)
		}
	}
	writers.Wait()
	if left := names(t, filepath.Dir(path)); !slices.Equal(left, []string{"f"}) {
		t.Errorf("left: %q", left)
	}
}

func TestAFileThatCannotBeReplacedLeavesNothing(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "full", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, o := range []fsys.ReplaceOptions{{}, {Sync: true}, {TempDir: temp}} {
		if err := fsys.Replace(filepath.Join(dir, "full"), []byte("x"), o); err == nil {
			t.Errorf("%+v: a directory was replaced", o)
		}
	}
	if left := append(names(t, dir), names(t, temp)...); !slices.Equal(left, []string{"full"}) {
		t.Errorf("left: %q", left)
	}
}

// TestWhatKilledProcessesDidNotFinishIsRemoved has files of those, of one that may still write, and what isn't a file
// of Replace.
func TestWhatKilledProcessesDidNotFinishIsRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".new-dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "f")
	for _, path := range []string{outside, filepath.Join(dir, ".new-old"), filepath.Join(dir, ".new-young"),
		filepath.Join(dir, "old")} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, ".new-link")); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	for _, name := range []string{".new-old", ".new-dir", "old"} {
		if err := os.Chtimes(filepath.Join(dir, name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.RemoveUnfinished(dir, time.Hour); err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir); !slices.Equal(left, []string{".new-dir", ".new-link", ".new-young", "old"}) {
		t.Errorf("left: %q", left)
	}
	if err := fsys.RemoveUnfinished(filepath.Join(dir, "none"), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
}
