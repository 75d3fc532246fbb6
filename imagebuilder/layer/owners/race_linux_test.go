package owners

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
)

// A process that outlived its step, or has a descriptor from one that did, can exchange names under the walk: whatever
// is changed must be the file that was looked at.
func TestShiftChangesOnlyFilesOfTheTreeWhileNamesAreExchanged(t *testing.T) {
	for _, kind := range []string{"link to a file", "file moved in"} {
		t.Run(kind, func(t *testing.T) {
			dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "precious")
			treetest.Check(t, os.WriteFile(outside, []byte("precious"), 0o600))
			treetest.Make(t, dir, []treetest.Node{
				{Path: "file", Type: tar.TypeReg, Mode: 0o4777, Data: "x", Xattrs: map[string]string{tree.CapabilityXattr: capV2}},
				{Path: "other", Type: tar.TypeSymlink, Link: outside},
			})
			if kind == "file moved in" {
				treetest.Check(t, os.Remove(filepath.Join(dir, "other")))
				treetest.Check(t, os.Link(outside, filepath.Join(dir, "other")))
			}
			looked := false
			w := walk{seen: map[tree.FileID]bool{}, visit: func(x *tree.Xattrs, f tree.Node, st *unix.Stat_t) error {
				if looked || st.Mode&unix.S_ISUID == 0 {
					return nil
				}
				looked = true
				treetest.Check(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "file"), unix.AT_FDCWD,
					filepath.Join(dir, "other"),
					unix.RENAME_EXCHANGE))
				return plus(5, 1<<30).file(x, f, st)
			}}
			treetest.Check(t, w.walk(context.Background(), dir))
			var st unix.Stat_t
			treetest.Check(t, unix.Lstat(outside, &st))
			if !looked || st.Mode != unix.S_IFREG|0o600 || st.Uid != 0 || st.Gid != 0 {
				t.Errorf("looked %v; the file outside has mode %o and belongs to %d:%d", looked, st.Mode, st.Uid, st.Gid)
			}
			treetest.Check(t, unix.Lstat(filepath.Join(dir, "other"), &st))
			if st.Mode != unix.S_IFREG|0o4777 || st.Uid != 5 || st.Gid != 5 {
				t.Errorf("the file that was looked at has mode %o and belongs to %d:%d", st.Mode, st.Uid, st.Gid)
			}
		})
	}
}
