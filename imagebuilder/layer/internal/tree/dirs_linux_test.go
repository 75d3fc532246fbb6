package tree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWalkNoticesAMovedDirectory(t *testing.T) {
	base := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(base, "tree", strings.Repeat("d/", 2*maxOpenDirs)), 0o755))
	d, err := Open(filepath.Join(base, "tree"))
	check(t, err)
	defer d.Close()
	var st unix.Stat_t
	for range 2 * maxOpenDirs {
		check(t, d.Push("d", &st))
	}
	check(t, os.Rename(filepath.Join(base, "tree/d/d/d"), filepath.Join(base, "elsewhere")))
	for len(d.levels) > 4 {
		check(t, d.Pop())
	}
	if err := d.Pop(); !errors.Is(err, ErrChanged) {
		t.Errorf("parent that has changed: %v", err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
