package store_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(m.Run, store.HandleReexec))
}

// options are the ways to commit a layer. All must give the same images.
func options() map[string]store.Options {
	return map[string]store.Options{
		"overlay":          {Driver: "overlay"},
		"overlay portable": {Driver: "overlay", Portable: true},
		"vfs":              {Driver: "vfs"},
	}
}

func open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(o.Root, "overlay"), unix.MNT_DETACH)
	})
	return s
}

// commit makes a layer of what fill writes.
func commit(t *testing.T, s *store.Store, parent string, fill func(dir string)) (store.Layer, layer.Result) {
	t.Helper()
	snap, err := s.Prepare(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	fill(snap.Dir())
	res, err := snap.Read(store.ReadOptions{Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := snap.Commit(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	return l, res
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

// list gives a layer's entries, and its digest as read back.
func list(t *testing.T, s *store.Store, l store.Layer) (entries []string, got digest.Digest) {
	t.Helper()
	rc, err := s.LayerTar(l)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	d := digest.SHA256.Digester()
	tee := io.TeeReader(rc, d.Hash())
	for r := tar.NewReader(tee); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, h.Name)
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		t.Fatal(err)
	}
	return entries, d.Digest()
}

func TestALayerIsReadBackAsItsDigestSays(t *testing.T) {
	for name, o := range options() {
		t.Run(name, func(t *testing.T) {
			s := open(t, o)
			l, res := commit(t, s, "", func(dir string) { write(t, filepath.Join(dir, "a"), "one") })
			if l.DiffID != res.DiffID || l.Size != res.Size {
				t.Errorf("stored as %s, %d bytes; read as %s, %d bytes", l.DiffID, l.Size, res.DiffID, res.Size)
			}
			entries, got := list(t, s, l)
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
	for name, o := range options() {
		s := open(t, o)
		_, res := commit(t, s, "", func(dir string) {
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o750); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "d", "f"), "text")
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
			s := open(t, options()[name])
			lower, _ := commit(t, s, "", func(dir string) {
				write(t, filepath.Join(dir, "gone"), "x")
				write(t, filepath.Join(dir, "kept"), "x")
			})
			upper, _ := commit(t, s, lower.ID, func(dir string) {
				if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
					t.Fatal(err)
				}
			})
			entries, _ := list(t, s, upper)
			if diff := cmp.Diff([]string{".wh.gone"}, entries); diff != "" {
				t.Error(diff)
			}
			chain, err := s.Chain(upper.ID)
			if err != nil || len(chain) != 2 || chain[0].ID != lower.ID {
				t.Errorf("chain %v, error %v", chain, err)
			}
		})
	}
}

func TestARemovedSnapshotLeavesNothing(t *testing.T) {
	for name, o := range options() {
		t.Run(name, func(t *testing.T) {
			o.Root = t.TempDir()
			s := open(t, o)
			snap, err := s.Prepare(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(snap.Dir(), "a"), "x")
			if _, err := snap.Read(store.ReadOptions{Context: t.Context()}); err != nil {
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
	s := open(t, store.Options{Driver: "overlay", Root: root})
	mine, remove, err := s.TempDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine); !errors.Is(err, os.ErrNotExist) {
		t.Error("a removed temporary directory is still there")
	}
	dead := filepath.Join(s.Dir(), "tmp", "dead")
	staged := filepath.Join(root, "overlay", "staging", "dead")
	for dir, lock := range map[string]string{dead: "lock", staged: "staging.lock"} {
		if err := os.MkdirAll(filepath.Join(dir, "dir", "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, lock), "")
	}
	// A process that dies between making a directory and locking it, or between removing the lock and the rest, leaves one
	// without.
	lockless := filepath.Join(root, "overlay", "staging", "lockless")
	if err := os.MkdirAll(filepath.Join(lockless, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Another process goes on removing this one.
	vanishing := filepath.Join(s.Dir(), "tmp", "vanishing")
	if err := os.Mkdir(vanishing, 0o700); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = os.Remove(vanishing) })
	open(t, store.Options{Driver: "overlay", Root: root})
	for _, dir := range []string{dead, staged, lockless, vanishing} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", dir)
		}
	}
}

func TestAnImageIsFoundByEveryOfItsNames(t *testing.T) {
	s := open(t, store.Options{Driver: "overlay"})
	l, _ := commit(t, s, "", func(dir string) { write(t, filepath.Join(dir, "a"), "one") })
	config, err := imagebuilder.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"}).
		MarshalConfig([]digest.Digest{l.DiffID}, time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	record := store.ImageRecord{Config: config, Layers: []store.Layer{l}, Names: []string{"localhost/app:v1"},
		Created: time.Unix(1, 0)}
	id, _, err := s.PutImage(t.Context(), record)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := s.PutImage(t.Context(), record); err != nil || again != id {
		t.Errorf("put twice: %s, %v", again, err)
	}
	for _, name := range []string{"app:v1", "localhost/app:v1", id, id[:12], "sha256:" + id} {
		img, err := s.FindImage(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img.ID != id || len(img.Layers) != 1 || img.Layers[0].ID != l.ID {
			t.Errorf("%s: found %s with layers %v", name, img.ID, img.Layers)
		}
	}
	if _, err := s.FindImage(t.Context(), "app:v2"); !errors.Is(err, store.ErrNoImage) {
		t.Errorf("a name nobody has: %v", err)
	}
}

func TestNamesAreMadeFull(t *testing.T) {
	for in, want := range map[string]string{
		"app": "localhost/app:latest", "app:1": "localhost/app:1", "team/app": "localhost/team/app:latest",
		"registry.example.com/app": "registry.example.com/app:latest", "localhost:5000/app:x": "localhost:5000/app:x",
	} {
		if got, err := store.NormalizeName(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "App", "a b", "app@sha256:" + strings.Repeat("0", 64), "app:"} {
		if got, err := store.NormalizeName(bad); err == nil {
			t.Errorf("%q is taken as %s", bad, got)
		}
	}
}

func TestPullingFromNowhereIsOneError(t *testing.T) {
	s := open(t, store.Options{Driver: "overlay"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := s.Pull(ctx, "127.0.0.1:1/nothing", store.PullOptions{Insecure: true})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1/nothing") {
		t.Errorf("error %v does not name the image", err)
	}
}

func TestALayerThatAKilledBuildMountedIsRemoved(t *testing.T) {
	root := t.TempDir()
	s := open(t, store.Options{Driver: "vfs", Root: root})
	snap, err := s.Prepare(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	// What a killed process leaves is the same without its lock; a copy of the note has none.
	notes, err := filepath.Glob(filepath.Join(s.Dir(), "tmp", "*", "layer"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("notes %v, error %v", notes, err)
	}
	id, err := os.ReadFile(notes[0])
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(s.Dir(), "tmp", "dead")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dead, "layer"), string(id))
	write(t, filepath.Join(dead, "lock"), "")
	open(t, store.Options{Driver: "vfs", Root: root})
	if _, err := s.Layer(string(id)); !errors.Is(err, store.ErrNoLayer) {
		t.Errorf("the layer is still there: %v", err)
	}
	_ = snap
}
