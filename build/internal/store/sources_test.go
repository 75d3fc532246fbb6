package store_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// TestTheSourcesOfALayerAreItsDirectoryAndRecords in a store that keeps both, and are told apart from what it hasn't.
func TestTheSourcesOfALayerAreItsDirectoryAndRecords(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "overlay", Root: root})
	l := storetest.Stack(t, s, "", "a")[0]
	p, err := s.Store.LayerSources(l)
	if err != nil {
		t.Fatal(err)
	}
	records, err := io.ReadAll(p.Records)
	if err != nil || !strings.Contains(string(records), `"name":"a"`) {
		t.Errorf("records %q, %v", records, err)
	}
	if names, err := os.ReadDir(p.Dir.Name()); err != nil || len(names) != 1 {
		t.Errorf("its directory has %v, %v", names, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	split := filepath.Join(root, "overlay-layers", l.ID+".tar-split.gz")
	whole, err := os.ReadFile(split)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"cut": whole[:5], "of another kind": []byte("records"), "empty": {}} {
		if err := os.WriteFile(split, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Store.LayerSources(l); !errors.Is(err, store.ErrNoSources) {
			t.Errorf("records that are %s: %v", name, err)
		}
	}
	if err := os.WriteFile(split, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.LayerSources(store.Layer{ID: strings.Repeat("0", 64),
		DiffID: digest.FromString("x")}); err == nil ||
		errors.Is(err, store.ErrNoSources) {
		t.Errorf("a layer that isn't there: %v", err)
	}
	vfs := storetest.Open(t, store.Options{Driver: "vfs"})
	if _, err := vfs.Store.LayerSources(storetest.Stack(t, vfs, "", "a")[0]); !errors.Is(err, store.ErrNoSources) {
		t.Errorf("a store of whole trees: %v", err)
	}
}
