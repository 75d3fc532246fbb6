package merge

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// marked lists the files of a diff directory; "!" is behind a whiteout and an opaque directory.
func marked(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	treetest.Check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if _, err := unix.Lgetxattr(path, treetest.OpaqueMark(), nil); err == nil || e.Type()&fs.ModeDevice != 0 {
			name += "!"
		}
		names = append(names, name)
		return nil
	}))
	return strings.Join(names, " ")
}

func TestMarksThatHideNothingAreDropped(t *testing.T) {
	base, dir, opaque := t.TempDir(), t.TempDir(), map[string]string{treetest.OpaqueMark(): "y"}
	treetest.Make(t, base, []treetest.Node{
		{Path: "kept", Type: tar.TypeReg}, {Path: "d", Type: tar.TypeDir}, {Path: "d/kept", Type: tar.TypeReg},
		{Path: "opaque", Type: tar.TypeDir}, {Path: "file", Type: tar.TypeReg},
	})
	treetest.Check(t, os.Symlink("d", base+"/link"))
	treetest.Make(t, dir, []treetest.Node{
		{Path: "new", Type: tar.TypeReg}, {Path: "kept", Type: 'w'}, {Path: "gone", Type: 'w'},
		{Path: "d", Type: tar.TypeDir, MTime: 1000}, {Path: "d/kept", Type: 'w'}, {Path: "d/gone", Type: 'w'},
		{Path: "opaque", Type: tar.TypeDir, Xattrs: opaque},
		{Path: "fresh", Type: tar.TypeDir, Xattrs: opaque}, {Path: "fresh/in", Type: tar.TypeDir},
		{Path: "fresh/in/gone", Type: 'w'},
		{Path: "file", Type: tar.TypeDir, Xattrs: opaque}, {Path: "file/gone", Type: 'w'},
		{Path: "link", Type: tar.TypeDir}, {Path: "link/kept", Type: 'w'},
	})
	below, err := fsys.OpenDir(base)
	treetest.Check(t, err)
	defer func() { _ = below.Close() }()

	treetest.Check(t, DropMarks(t.Context(), dir, below, treetest.OverlayXattr()))
	if got := marked(t, dir); got != "d d/kept! file fresh fresh/in kept! link new opaque!" {
		t.Errorf("on a base there is %s", got)
	}
	if info, err := os.Stat(dir + "/d"); err != nil || info.ModTime().Unix() != 1000 {
		t.Errorf("a directory that lost a mark is of %v, %v", info.ModTime(), err)
	}
	treetest.Check(t, DropMarks(t.Context(), dir, nil, treetest.OverlayXattr()))
	if got := marked(t, dir); got != "d file fresh fresh/in link new opaque" {
		t.Errorf("on nothing there is %s", got)
	}
}
