package library

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
)

// TestManyLayersAreFoundAsEach: once enough were looked up, those that the library has are at hand, until something
// changes them.
func TestManyLayersAreFoundAsEach(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	l, err := Open(storage.StoreOptions{GraphRoot: root, RunRoot: root + "-run", GraphDriverName: "vfs"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Free)
	nothing := make([]byte, 1024)
	empty := func(id, parent string) {
		t.Helper()
		ids := storage.LayerIDMappingOptions{HostUIDMapping: true, HostGIDMapping: true}
		o := storage.LayerOptions{OriginalDigest: digest.FromBytes(nothing), IDMappingOptions: ids}
		if _, err := l.PutLayer(id, parent, nil, "", false, &o, bytes.NewReader(nothing)); err != nil {
			t.Fatal(err)
		}
	}
	// atHand looks a layer up until all are read, which they are once the files show each later change.
	atHand := func(id string) {
		t.Helper()
		for l.known.layers == nil {
			if _, err := l.Find(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(id string) bool {
		_, err := l.Find(id)
		return errors.Is(err, storage.ErrLayerUnknown)
	}

	empty("a", "")
	empty("b", "a")
	if !gone("c") {
		t.Error("a layer is found that was never made")
	}
	atHand("a")
	if found, err := l.Find("b"); err != nil || found.ID != "b" || found.Parent != "a" || l.known.layers == nil {
		t.Errorf("found %+v, %v", found, err)
	}
	if !gone("c") {
		t.Error("a layer is found that was never made, once the others are at hand")
	}

	empty("c", "b")
	if found, err := l.Find("c"); err != nil || found.Parent != "b" {
		t.Errorf("a new one: %+v, %v", found, err)
	}
	atHand("c")
	if err := l.DeleteLayer("c"); err != nil || !gone("c") || gone("b") {
		t.Errorf("removed: %v, gone: %v, the one below: %v", err, gone("c"), gone("b"))
	}
}

func TestALayerIsNotAtHandBeforeItsFileIsSettled(t *testing.T) {
	t.Parallel()
	k := known{lookUps: 1 << 20}
	if k.worthwhile() {
		t.Error("there are no files")
	}
	file := filepath.Join(t.TempDir(), "layers")
	if err := os.WriteFile(file, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.files[0] = stateOf(file)
	if k.worthwhile() {
		t.Error("a file that was made just now may change without a trace")
	}
	k.files[0].made.Sec -= 60
	if !k.worthwhile() {
		t.Error("the file is a minute old")
	}
	if k.lookUps = 0; k.worthwhile() {
		t.Error("nothing was looked up")
	}
}
