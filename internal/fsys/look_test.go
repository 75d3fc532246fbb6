package fsys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/internal/fsys"
)

func TestWhatIsInADirectoryIsRemovedAndTheDirectoryStays(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	before, err := os.Stat(dir)
	err = errors.Join(err,
		os.MkdirAll(filepath.Join(dir, "sub", "deep"), 0o700),
		os.WriteFile(filepath.Join(dir, "sub", "deep", "f"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, ".hidden"), nil, 0o600),
		os.WriteFile(filepath.Join(other, "f"), nil, 0o600),
		os.Symlink(other, filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.RemoveContents(dir); err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if after, err := os.Stat(dir); err != nil || !os.SameFile(before, after) {
		t.Errorf("the directory is another one: %v", err)
	}
	if left := names(t, other); len(left) != 1 {
		t.Errorf("behind a link: %q", left)
	}
	if err := fsys.RemoveContents(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
}
