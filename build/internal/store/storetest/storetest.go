// Package storetest opens stores for tests, and makes layers in them.
package storetest

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/userns/usertest"
)

// Main runs the tests of a package that opens stores, in a user namespace if the caller is no root.
func Main(m *testing.M) int { return usertest.Main(m.Run, store.HandleReexec) }

// Drivers are the ways to commit a layer. All must give the same images.
func Drivers() map[string]store.Options {
	return map[string]store.Options{
		"overlay":          {Driver: "overlay"},
		"overlay portable": {Driver: "overlay", Portable: true},
		"vfs":              {Driver: "vfs"},
	}
}

// Open opens a store, in a directory of the test's if none is given, and closes it when the test ends.
func Open(t *testing.T, o store.Options) *depot.Depot {
	t.Helper()
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	d, err := depot.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(o.Root, "overlay"), unix.MNT_DETACH)
	})
	return d
}

// Prepare makes a snapshot on top of a layer, and gives the directory that files are put into.
func Prepare(t *testing.T, d *depot.Depot, parent string) (snap snapshot.Snapshot, dir string) {
	t.Helper()
	chain, err := d.Store.Chain(parent)
	if err != nil {
		t.Fatal(err)
	}
	var below snapshot.Layers
	for _, l := range chain {
		below = append(below, l.ID)
	}
	room := snapshot.New(d.Store)
	if snap, err = room.Prepare(t.Context(), below); err != nil {
		t.Fatal(err)
	}
	if err := room.Close(); err != nil {
		t.Fatal(err)
	}
	dir, _ = snap.Files()
	return snap, dir
}

// Commit makes a layer of what fill writes.
func Commit(t *testing.T, d *depot.Depot, parent string, fill func(dir string)) (store.Layer, layer.Result) {
	t.Helper()
	snap, dir := Prepare(t, d, parent)
	fill(dir)
	res, err := snap.Read(t.Context(), snapshot.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := snap.Commit(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	return l, res
}

// Stack makes layers on top of each other, each with a file of that name.
func Stack(t *testing.T, d *depot.Depot, parent string, names ...string) (layers []store.Layer) {
	t.Helper()
	for _, name := range names {
		l, _ := Commit(t, d, parent, func(dir string) { Write(t, filepath.Join(dir, name), name) })
		layers, parent = append(layers, l), l.ID
	}
	return layers
}

// Write writes a file whose time is always the same.
func Write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

// List gives a layer's entries, and its digest as read back.
func List(t *testing.T, d *depot.Depot, l store.Layer) (entries []string, got digest.Digest) {
	t.Helper()
	rc, err := d.Store.LayerTar(l)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	sum := digest.SHA256.Digester()
	tee := io.TeeReader(rc, sum.Hash())
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
	return entries, sum.Digest()
}

// Image records an image of layers, without a name if it is given none. The same author, layers and names give the same
// image.
func Image(t *testing.T, d *depot.Depot, author string, layers []store.Layer, names ...string) (id string) {
	t.Helper()
	config := ocispec.Image{Author: author, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	config.OS, config.Architecture = "linux", "amd64"
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	id, _, err = d.Images.Put(t.Context(), images.Record{Config: raw, Layers: layers, Names: names,
		Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}
