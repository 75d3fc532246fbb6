package library_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// forAll runs a test on a store of each driver.
func forAll(t *testing.T, test func(t *testing.T, d *depot.Depot, lib *library.Library)) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(storetest.Drivers())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := storetest.Open(t, storetest.Drivers()[name])
			test(t, d, library.Of(d.Store.Parts().Library))
		})
	}
}

// archiveWith has a file of that name.
func archiveWith(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
	_, written := io.WriteString(w, text)
	if err := errors.Join(err, written, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// put makes a layer of an archive.
func put(t *testing.T, lib *library.Library, parent string, text []byte) *storage.Layer {
	t.Helper()
	l, err := lib.PutLayer("", parent, nil, "", false, &storage.LayerOptions{IDMappingOptions: store.HostIDs()},
		bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if l.UncompressedDigest != digest.FromBytes(text) || l.Parent != parent {
		t.Errorf("it has digest %s, parent %s", l.UncompressedDigest, l.Parent)
	}
	return l
}

func TestALayerIsMadeFoundAndRemoved(t *testing.T) {
	forAll(t, func(t *testing.T, _ *depot.Depot, lib *library.Library) {
		first, second := archiveWith(t, "a", "one"), archiveWith(t, "b", "two")
		below := put(t, lib, "", first)
		above, onNothing := put(t, lib, below.ID, second), put(t, lib, "", second)

		found, err := lib.LayersByUncompressedDigest(digest.FromBytes(second))
		ids := map[string]bool{}
		for _, l := range found {
			ids[l.ID] = true
		}
		if err != nil || len(ids) != 2 || !ids[above.ID] || !ids[onNothing.ID] {
			t.Errorf("by its content: %v, %v", ids, err)
		}
		if n, err := lib.DiffSize("", above.ID); err != nil || n < int64(len("two")) {
			t.Errorf("it changes %d bytes, %v", n, err)
		}
		if err := lib.DeleteLayer(below.ID); err == nil {
			t.Error("a layer below another one was removed")
		}
		for _, id := range []string{above.ID, below.ID} {
			if err := lib.DeleteLayer(id); err != nil || lib.Exists(id) {
				t.Errorf("removed: %v, it exists: %v", err, lib.Exists(id))
			}
		}
		if err := lib.DeleteLayer(above.ID); !errors.Is(err, storage.ErrNotALayer) {
			t.Errorf("removed twice: %v", err)
		}
		if all, err := lib.Layers(); err != nil || len(all) != 1 || all[0].ID != onNothing.ID {
			t.Errorf("left: %v, %v", all, err)
		}
	})
}

func TestALayerIsMountedUntilAllHaveUnmountedIt(t *testing.T) {
	forAll(t, func(t *testing.T, _ *depot.Depot, lib *library.Library) {
		l := put(t, lib, put(t, lib, "", archiveWith(t, "a", "one")).ID, archiveWith(t, "b", "two"))
		var dir string
		for range 2 {
			var err error
			if dir, err = lib.Mount(l.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]string{"a": "one", "b": "two"} {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
				t.Errorf("%s has %q, %v", name, text, err)
			}
		}
		for i, want := range []bool{true, false} {
			if still, err := lib.Unmount(l.ID, false); err != nil || still != want {
				t.Errorf("unmounted %d times: it is still mounted: %v, %v", i+1, still, err)
			}
		}
	})
}

// TestALayerIsReadAsItWasWritten, and may be closed before its end.
func TestALayerIsReadAsItWasWritten(t *testing.T) {
	forAll(t, func(t *testing.T, _ *depot.Depot, lib *library.Library) {
		text := archiveWith(t, "a", strings.Repeat("text", 100<<10))
		l := put(t, lib, "", text)
		plain := archive.Uncompressed
		read := func(limit int64) []byte {
			rc, err := lib.Diff("", l.ID, &storage.DiffOptions{Compression: &plain})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.LimitReader(rc, limit))
			if err := errors.Join(err, rc.Close()); err != nil {
				t.Error(err)
			}
			return got
		}
		if got := read(1 << 30); !bytes.Equal(got, text) {
			t.Errorf("%d bytes came as %d", len(text), len(got))
		}
		if got := read(1000); !bytes.Equal(got, text[:1000]) {
			t.Error("its beginning is another one")
		}
		if _, err := lib.Diff("", strings.Repeat("0", 64), nil); !errors.Is(err, storage.ErrLayerUnknown) {
			t.Errorf("one that isn't there: %v", err)
		}
	})
}

// TestARootDirectoryHasItsModeWhateverTheUmask is.
func TestARootDirectoryHasItsModeWhateverTheUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for name, o := range storetest.Drivers() {
		d := storetest.Open(t, o)
		lib := library.Of(d.Store.Parts().Library)
		l, err := lib.CreateLayer("", "", nil, "", false, &storage.LayerOptions{IDMappingOptions: store.HostIDs()})
		if err != nil {
			t.Fatal(err)
		}
		dir, err := lib.Mount(l.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("%s: the root directory has %v, %v", name, info.Mode(), err)
		}
		if _, err := lib.Unmount(l.ID, true); err != nil {
			t.Error(err)
		}
	}
}

// TestARecordSaysWhatALayerWasPulledAs, and nothing else of the list changes.
func TestARecordSaysWhatALayerWasPulledAs(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	lib := library.Of(d.Store.Parts().Library)
	other := storetest.Stack(t, d, "", "other")[0]
	text := archiveWith(t, "a", "one")
	blob := digest.FromString("as it came")
	size := int64(77)
	l, err := lib.PutLayer("", "", nil, "", false, &storage.LayerOptions{IDMappingOptions: store.HostIDs(),
		OriginalDigest: blob, UncompressedDigest: digest.FromBytes(text), OriginalSize: &size}, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	before := recordOf(t, lib, other.ID)
	err = lib.NoteBlobs(map[string]library.Blob{
		l.ID:                    {Digest: blob, Size: 1234, Compression: archive.Zstd},
		other.ID:                {Digest: blob, Size: 1234, Compression: archive.Zstd}, // of another blob
		strings.Repeat("0", 64): {Digest: blob, Size: 1234, Compression: archive.Zstd}, // gone
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := lib.Layer(l.ID) // the library has seen that its list has changed
	if err != nil || after.CompressedSize != 1234 || after.CompressionType != archive.Zstd ||
		after.UncompressedDigest != l.UncompressedDigest {
		t.Errorf("recorded as %+v, %v", after, err)
	}
	if got := recordOf(t, lib, other.ID); got != before {
		t.Errorf("another layer is recorded as %s, it was %s", got, before)
	}
	// What is written is written in cooper's own directory first, which is looked after.
	own, list := d.Store.Paths().Own, filepath.Join(d.Store.Paths().Root, "overlay-layers", "layers.json")
	was, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(own, own+".away"); err != nil {
		t.Fatal(err)
	}
	noted := lib.NoteBlobs(map[string]library.Blob{l.ID: {Digest: blob, Size: 5}})
	if err := os.Rename(own+".away", own); err != nil {
		t.Fatal(err)
	}
	if is, err := os.ReadFile(list); err != nil || !bytes.Equal(is, was) || !errors.Is(noted, os.ErrNotExist) ||
		!strings.Contains(noted.Error(), own) {
		t.Errorf("without that directory: %v; the list is %s, %v", noted, is, err)
	}
	if err := os.Truncate(list, 10); err != nil {
		t.Fatal(err)
	}
	if err := lib.NoteBlobs(nil); err == nil || !strings.Contains(err.Error(), "read "+list+": ") {
		t.Errorf("a list that is cut: %v", err)
	}
	if err := os.WriteFile(list, was, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheDirectoriesOfALayerAreFound(t *testing.T) {
	forAll(t, func(t *testing.T, d *depot.Depot, lib *library.Library) {
		l := storetest.Stack(t, d, "", "a")[0]
		dirs, err := lib.Directories(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		if lib.GraphDriverName() == "vfs" {
			if dirs.Upper != "" || dirs.Work != "" {
				t.Errorf("a whole tree has %+v", dirs)
			}
			return
		}
		if _, err := os.Stat(filepath.Join(dirs.Upper, "a")); err != nil || !strings.HasSuffix(dirs.Work, "/work") {
			t.Errorf("%+v, %v", dirs, err)
		}
		if err := library.CheckOwned(dirs.Upper); err != nil {
			t.Error(err)
		}
		if dirs, err := lib.Directories(strings.Repeat("0", 64)); err == nil && dirs.Upper != "" {
			t.Errorf("one that isn't there: %+v", dirs)
		}
	})
}

// TestALayerOfOtherStoresIsMountedToBeRead as MountOthers does, and no record says that it is mounted.
func TestALayerIsMountedWithoutARecord(t *testing.T) {
	forAll(t, func(t *testing.T, d *depot.Depot, lib *library.Library) {
		l := storetest.Stack(t, d, "", "a")[0]
		dir, unmount, err := lib.MountOthers(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(text) != "a" {
			t.Errorf("the file has %q, %v", text, err)
		}
		if got, err := lib.Layer(l.ID); err != nil || got.MountCount != 0 {
			t.Errorf("mounted %d times, %v", got.MountCount, err)
		}
		if err := unmount(); err != nil {
			t.Error(err)
		}
		if _, _, err := lib.MountOthers(strings.Repeat("0", 64)); err == nil {
			t.Error("one that isn't there is mounted")
		}
	})
}
