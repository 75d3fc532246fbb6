package library_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// pulled has another tool make a layer of the archive, as one that came compressed from a registry.
func pulled(t *testing.T, lib *library.Library, l store.Layer, archive []byte) (record string) {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(archive)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	size := int64(packed.Len())
	if _, err := lib.PutLayer(l.ID, l.Parent, nil, "", false, &storage.LayerOptions{
		IDMappingOptions: store.HostIDs(), OriginalDigest: digest.FromBytes(packed.Bytes()), OriginalSize: &size,
	}, &packed); err != nil {
		t.Fatal(err)
	}
	return recordOf(t, lib, l.ID)
}

// recordOf is what the library has written down of a layer.
func recordOf(t *testing.T, lib *library.Library, id string) string {
	t.Helper()
	l, err := lib.Layer(id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dirOf is the directory of a layer, as it is now.
func dirOf(t *testing.T, d *depot.Depot, id string) os.FileInfo {
	t.Helper()
	path, err := d.Store.DiffDir(id)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func archiveOf(t *testing.T, d *depot.Depot, l store.Layer) []byte {
	t.Helper()
	rc, err := d.Store.LayerTar(l)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(rc)
	if err := errors.Join(err, rc.Close()); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestALayerThatAnotherToolMakesMeanwhileIsLeftAlone has it made at the last moment before the library is asked to put
// the own directory in its place.
func TestALayerThatAnotherToolMakesMeanwhileIsLeftAlone(t *testing.T) {
	other := storetest.Open(t, store.Options{Driver: "overlay"})
	want := storetest.Stack(t, other, "", "below", "above")
	archives := [][]byte{archiveOf(t, other, want[0]), archiveOf(t, other, want[1])}
	for n, test := range []struct {
		name string
		// kept says that the files stay in place, too; else they are replaced by the same ones.
		kept bool
	}{{"without a parent", false}, {"on a parent", true}} {
		t.Run(test.name, func(t *testing.T) {
			d := storetest.Open(t, store.Options{Driver: "overlay"})
			lib := library.Of(d.Store.Parts().Library)
			parent := ""
			if n == 1 {
				parent = storetest.Stack(t, d, "", "below")[0].ID
			}
			snap, dir := storetest.Prepare(t, d, parent)
			file := []string{"below", "above"}[n]
			storetest.Write(t, filepath.Join(dir, file), file)
			if _, err := snap.Read(t.Context(), snapshot.ReadOptions{}); err != nil {
				t.Fatal(err)
			}

			var theirs string
			var place os.FileInfo
			lib.Between(func() {
				theirs = pulled(t, lib, want[n], archives[n])
				place = dirOf(t, d, want[n].ID)
				lib.Wrote.Store(false)
			})
			l, err := snap.Commit(t.Context(), parent)
			if err != nil || theirs == "" || l.ID != want[n].ID {
				t.Fatalf("the layer is %+v, %v; another tool has made %s", l, err, theirs)
			}
			if note := d.Store.Parts().Uses.Read(uses.Thing{Kind: uses.Layers, Name: l.ID}); note != (uses.Entry{}) {
				t.Errorf("another tool's layer has the note %+v", note)
			}
			if got := archiveOf(t, d, l); !bytes.Equal(got, archives[n]) {
				t.Error("the layer has another archive now")
			}
			if replaced := !os.SameFile(place, dirOf(t, d, l.ID)); replaced == test.kept || replaced != lib.Wrote.Load() {
				t.Errorf("another tool's directory was replaced: %v; files are to be synced: %v", replaced, lib.Wrote.Load())
			}
			if test.kept {
				if diff := cmp.Diff(theirs, recordOf(t, lib, l.ID)); diff != "" {
					t.Error(diff)
				}
			}
			if err := snap.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestALayerThatIsThereIsNotReplaced asks for one with the ID of another, on the same parent and on none.
func TestALayerThatIsThereIsNotReplaced(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	lib := library.Of(d.Store.Parts().Library)
	for _, there := range storetest.Stack(t, d, "", "below", "above") {
		for _, parent := range []string{"", there.Parent} {
			before, files := recordOf(t, lib, there.ID), dirOf(t, d, there.ID)
			split, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			out := drivers.DriverWithDifferOutput{Target: t.TempDir(), TarSplit: split, UncompressedDigest: "sha256:00"}
			given := out
			made, err := lib.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
				ID: there.ID, ParentLayer: parent, DiffOutput: &out, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
			})
			if made != nil || !errors.Is(err, storage.ErrDuplicateID) {
				t.Errorf("on %q: %v, %v", parent, made, err)
			}
			if _, err := split.Stat(); !errors.Is(err, os.ErrClosed) || out.TarSplit != nil || out.Target != given.Target {
				t.Errorf("on %q: %+v, %v", parent, out, err)
			}
			if diff := cmp.Diff(before, recordOf(t, lib, there.ID)); diff != "" {
				t.Error(diff)
			}
			if !os.SameFile(files, dirOf(t, d, there.ID)) {
				t.Error("its files were replaced")
			}
		}
	}
}

// TestAStagedLayerThatCannotBeMadeLeavesNothing has the parent missing, and the directory.
func TestAStagedLayerThatCannotBeMadeLeavesNothing(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	lib := library.Of(d.Store.Parts().Library)
	below := storetest.Stack(t, d, "", "below")[0]
	id := store.LayerID(below.ID, digest.FromString("x"))
	for _, test := range []struct{ parent, dir string }{{id[1:] + "0", t.TempDir()}, {below.ID, "/nowhere"}} {
		out := drivers.DriverWithDifferOutput{Target: test.dir}
		made, err := lib.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
			ID: id, ParentLayer: test.parent, DiffOutput: &out, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
		})
		if made != nil || err == nil || errors.Is(err, storage.ErrDuplicateID) || out.Target != test.dir {
			t.Errorf("%+v: %v, %v, %q", test, made, err, out.Target)
		}
		if lib.Exists(id) {
			t.Errorf("%+v: the layer is there", test)
		}
		if _, err := os.Lstat(filepath.Join(d.Store.Paths().Root, library.Overlay, id)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%+v: its directory: %v", test, err)
		}
	}
}
