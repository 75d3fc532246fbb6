package copystep_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
)

// inode is that of a file in the uppermost layer of a root.
func (b build) inode(t *testing.T, r *rootfs.Root, name string) uint64 {
	t.Helper()
	dir, err := b.roots.Store.DiffDir(r.Top())
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestWhatHasNotChangedIsLinkedFromTheLayerBefore again and again, and never from a layer that lies below.
func TestWhatHasNotChangedIsLinkedFromTheLayerBefore(t *testing.T) {
	t.Parallel()
	b := newBuild(t, nil)
	for n := range 600 {
		path := filepath.Join(b.context, "d", strconv.Itoa(n%7), strconv.Itoa(n))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte(strconv.Itoa(n)), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	op := &plan.Copy{Sources: []string{"d"}, Dest: "/e"}
	change := func(text string) {
		if err := os.WriteFile(filepath.Join(b.context, "d/1/1"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	was := b.inode(t, first, "e/2/2")
	var last *rootfs.Root
	for _, text := range []string{"changed", "changed again"} {
		change(text)
		r, cached := b.make(t, b.Copy(&plan.Step{}, op, noStep))
		if got := b.read(t, r, "e/1/1"); cached || got != text {
			t.Errorf("it has %q, cached: %v", got, cached)
		}
		if b.inode(t, r, "e/2/2") != was {
			t.Error("what has not changed is not linked")
		}
		last = r
	}
	change("for a root with the files")
	above, _ := b.on(t, last, b.Copy(&plan.Step{}, op, noStep))
	if got := b.read(t, above, "e/2/2"); got != "2" || b.inode(t, above, "e/2/2") == was {
		t.Errorf("%q is linked into a root that has the file", got)
	}
}
