package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestMain(m *testing.M) {
	os.Exit(storetest.Main(m))
}

func TestALayerIsReadBackAsItsDigestSays(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, o)
			l, res := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "a"), "one") })
			if l.DiffID != res.DiffID || l.Size != res.Size {
				t.Errorf("stored as %s, %d bytes; read as %s, %d bytes", l.DiffID, l.Size, res.DiffID, res.Size)
			}
			entries, got := storetest.List(t, s, l)
			if diff := cmp.Diff([]string{"a"}, entries); diff != "" {
				t.Error(diff)
			}
			if got != res.DiffID {
				t.Errorf("reads back as %s, want %s", got, res.DiffID)
			}
		})
	}
}

func TestEveryDriverMakesTheSameLayer(t *testing.T) {
	first := map[string]digest.Digest{}
	for name, o := range storetest.Drivers() {
		s := storetest.Open(t, o)
		_, res := storetest.Commit(t, s, "", func(dir string) {
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o750); err != nil {
				t.Fatal(err)
			}
			storetest.Write(t, filepath.Join(dir, "d", "f"), "text")
			if err := os.Link(filepath.Join(dir, "d", "f"), filepath.Join(dir, "d", "g")); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(filepath.Join(dir, "d", "f"), 33, 44); err != nil {
				t.Fatal(err)
			}
		})
		first[name] = res.Content
	}
	for name, d := range first {
		if d != first["overlay"] {
			t.Errorf("%s: content %s, overlay has %s", name, d, first["overlay"])
		}
	}
}

func TestADeletedFileIsAWhiteout(t *testing.T) {
	for _, name := range []string{"overlay portable", "vfs"} {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, storetest.Drivers()[name])
			lower, _ := storetest.Commit(t, s, "", func(dir string) {
				storetest.Write(t, filepath.Join(dir, "gone"), "x")
				storetest.Write(t, filepath.Join(dir, "kept"), "x")
			})
			upper, _ := storetest.Commit(t, s, lower.ID, func(dir string) {
				if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
					t.Fatal(err)
				}
			})
			entries, _ := storetest.List(t, s, upper)
			if diff := cmp.Diff([]string{".wh.gone"}, entries); diff != "" {
				t.Error(diff)
			}
			chain, err := s.Store.Chain(upper.ID)
			if err != nil || len(chain) != 2 || chain[0].ID != lower.ID {
				t.Errorf("chain %v, error %v", chain, err)
			}
		})
	}
}

func TestARemovedSnapshotLeavesNothing(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			o.Root = t.TempDir()
			s := storetest.Open(t, o)
			snap, dir := storetest.Prepare(t, s, "")
			storetest.Write(t, filepath.Join(dir, "a"), "x")
			if _, err := snap.Read(t.Context(), snapshot.ReadOptions{}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := snap.Remove(); err != nil {
					t.Fatal(err)
				}
			}
			var left []string
			_ = filepath.WalkDir(o.Root, func(path string, _ os.DirEntry, _ error) error {
				if filepath.Base(path) == "a" || strings.Contains(path, "cooper/tmp/") {
					left = append(left, path)
				}
				return nil
			})
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWhatAKilledBuildLeftIsRemovedAndNothingElse(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "overlay", Root: root})
	mine, remove, err := s.Store.Parts().Scratch.Dir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine); !errors.Is(err, os.ErrNotExist) {
		t.Error("a removed temporary directory is still there")
	}
	dead := filepath.Join(s.Store.Paths().Own, "tmp", "dead")
	staged := filepath.Join(root, "overlay", "staging", "dead")
	for dir, lock := range map[string]string{dead: "lock", staged: "staging.lock"} {
		if err := os.MkdirAll(filepath.Join(dir, "dir", "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		storetest.Write(t, filepath.Join(dir, lock), "")
	}
	// A process that dies between making a directory and locking it, or between removing the lock and the rest, leaves one
	// without.
	lockless := filepath.Join(root, "overlay", "staging", "lockless")
	if err := os.MkdirAll(filepath.Join(lockless, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Another process goes on removing this one.
	vanishing := filepath.Join(s.Store.Paths().Own, "tmp", "vanishing")
	if err := os.Mkdir(vanishing, 0o700); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = os.Remove(vanishing) })
	storetest.Open(t, store.Options{Driver: "overlay", Root: root})
	for _, dir := range []string{dead, staged, lockless, vanishing} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", dir)
		}
	}
}

func TestALayerThatAKilledBuildMountedIsRemoved(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	storetest.Prepare(t, s, "")
	// What a killed process leaves is the same without its lock; a copy of the note has none.
	notes, err := filepath.Glob(filepath.Join(s.Store.Paths().Own, "tmp", "*", "layer"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("notes %v, error %v", notes, err)
	}
	id, err := os.ReadFile(notes[0])
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(s.Store.Paths().Own, "tmp", "dead")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	storetest.Write(t, filepath.Join(dead, "layer"), string(id))
	storetest.Write(t, filepath.Join(dead, "lock"), "")
	storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	if _, err := s.Store.Layer(string(id)); !errors.Is(err, store.ErrNoLayer) {
		t.Errorf("the layer is still there: %v", err)
	}
}

// TestFilesThatAKilledProcessDidNotFinishAreRemoved has the files from which the note of what is on the disk, and the
// digests of context files, would have been made.
func TestFilesThatAKilledProcessDidNotFinishAreRemoved(t *testing.T) {
	o := store.Options{Driver: "vfs", Root: t.TempDir()}
	own := storetest.Open(t, o).Store.Paths().Own
	old, young := filepath.Join(own, ".new-1"), filepath.Join(own, ".new-2")
	storetest.Write(t, old, "{}") // its time is long ago
	if err := os.WriteFile(young, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, o)
	if _, err := os.Lstat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Lstat(young); err != nil {
		t.Errorf("that of a process which may live: %v", err)
	}
}
