package layer

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
)

func TestReadTellsTheDigestsOfLargeFiles(t *testing.T) {
	dir := t.TempDir()
	treetest.Check(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	sizes := map[string]int64{"a-small": LargeFileSize - 1, "b-large": LargeFileSize, "d/c-larger": 3*LargeFileSize + 17,
		"e-empty": 0}
	want := map[string][32]byte{}
	for name, size := range sizes {
		randomFile(t, filepath.Join(dir, name), size)
		if size >= LargeFileSize {
			text, err := os.ReadFile(filepath.Join(dir, name))
			treetest.Check(t, err)
			want[name] = blake3.Sum256(text)
		}
	}
	treetest.Check(t, os.Link(filepath.Join(dir, "b-large"), filepath.Join(dir, "z-link")))
	got := map[string][32]byte{}
	layerOf(t, dir, Options{LargeFile: func(name string, sum [32]byte) { got[name] = sum }})
	if !maps.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestReadContentChangesWithAByteOfALargeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "large")
	randomFile(t, path, 2*LargeFileSize)
	before, _ := layerOf(t, dir, Options{})
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	treetest.Check(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, LargeFileSize+5)
	treetest.Check(t, err)
	b[0]++
	_, err = f.WriteAt(b, LargeFileSize+5)
	treetest.Check(t, err)
	treetest.Check(t, f.Close())
	after, _ := layerOf(t, dir, Options{})
	if before.Content == after.Content {
		t.Error("the content digest stayed the same")
	}
}
