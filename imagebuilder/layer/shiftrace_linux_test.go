package layer

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that outlived its step, or has a descriptor from one that did, can exchange names under the walk: whatever
// is changed must be the file that was looked at.
func TestShiftChangesOnlyFilesOfTheTreeWhileNamesAreExchanged(t *testing.T) {
	for _, kind := range []string{"link to a file", "file moved in"} {
		t.Run(kind, func(t *testing.T) {
			dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "precious")
			check(t, os.WriteFile(outside, []byte("precious"), 0o600))
			makeTree(t, dir, []node{
				{path: "file", typ: typeReg, mode: 0o4777, data: "x", xattrs: map[string]string{capabilityXattr: capV2}},
				{path: "other", typ: typeSymlink, link: outside},
			})
			if kind == "file moved in" {
				check(t, os.Remove(filepath.Join(dir, "other")))
				check(t, os.Link(outside, filepath.Join(dir, "other")))
			}
			looked := false
			w := shiftWalk{seen: map[fileID]bool{}, visit: func(x *xattrReader, f xattrFile, st *unix.Stat_t) error {
				if looked || st.Mode&unix.S_ISUID == 0 {
					return nil
				}
				looked = true
				check(t, unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "file"), unix.AT_FDCWD, filepath.Join(dir, "other"),
					unix.RENAME_EXCHANGE))
				return plus(5, 1<<30).file(x, f, st)
			}}
			check(t, w.walk(context.Background(), dir))
			var st unix.Stat_t
			check(t, unix.Lstat(outside, &st))
			if !looked || st.Mode != unix.S_IFREG|0o600 || st.Uid != 0 || st.Gid != 0 {
				t.Errorf("looked %v; the file outside has mode %o and belongs to %d:%d", looked, st.Mode, st.Uid, st.Gid)
			}
			check(t, unix.Lstat(filepath.Join(dir, "other"), &st))
			if st.Mode != unix.S_IFREG|0o4777 || st.Uid != 5 || st.Gid != 5 {
				t.Errorf("the file that was looked at has mode %o and belongs to %d:%d", st.Mode, st.Uid, st.Gid)
			}
		})
	}
}
