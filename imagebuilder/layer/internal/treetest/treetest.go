// Package treetest makes trees of files for tests of layers, and looks at them.
package treetest

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/userns/asroot"
)

// OverlayXattr is the prefix that overlayfs uses for this user.
func OverlayXattr() string {
	if asroot.Real() {
		return "trusted.overlay."
	}
	return "user.overlay."
}

// OpaqueMark is the attribute by which overlay marks a directory as opaque.
func OpaqueMark() string { return OverlayXattr() + "opaque" }

// Node describes a file of a test tree.
type Node struct {
	Path         string
	Type         byte // as in tar headers; 'w' whiteout, 's' socket
	Mode         uint32
	UID, GID     int
	Data         string
	Link         string
	Major, Minor uint32
	MTime        int64
	Xattrs       map[string]string
}

// Make makes the nodes below dir. Times are set last, since a directory's change with its content.
func Make(t testing.TB, dir string, nodes []Node) {
	t.Helper()
	for _, n := range nodes {
		makeNode(t, filepath.Join(dir, n.Path), filepath.Join(dir, n.Link), n)
	}
	for _, n := range nodes {
		ts := []unix.Timespec{{Sec: 1}, unix.NsecToTimespec(n.MTime*1e9 + 999_999_999)}
		Check(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, n.Path), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// Possible is what root of a user namespace can make: no devices, no attributes of the machine's root, and owners of
// 65536 IDs.
func (n Node) Possible() Node {
	if n.Type == tar.TypeBlock || n.Type == tar.TypeChar {
		n.Type = tar.TypeFifo
	}
	n.UID, n.GID, n.Xattrs = n.UID%65536, n.GID%65536, maps.Clone(n.Xattrs)
	maps.DeleteFunc(n.Xattrs, func(name, _ string) bool { return strings.HasPrefix(name, "trusted.") })
	return n
}

func makeNode(t testing.TB, path, linkPath string, n Node) {
	t.Helper()
	if !asroot.Real() {
		n = n.Possible()
	}
	switch n.Type {
	case tar.TypeReg:
		Check(t, os.WriteFile(path, []byte(n.Data), 0o600))
	case tar.TypeLink:
		Check(t, os.Link(linkPath, path))
		return
	case tar.TypeSymlink:
		Check(t, os.Symlink(n.Link, path))
	case tar.TypeDir:
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	case tar.TypeFifo:
		Check(t, unix.Mkfifo(path, 0o600))
	case tar.TypeChar, 'w':
		Check(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(n.Major, n.Minor))))
	case tar.TypeBlock:
		Check(t, unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(n.Major, n.Minor))))
	case 's':
		Check(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
	}
	Check(t, os.Lchown(path, n.UID, n.GID))
	if n.Type != tar.TypeSymlink {
		Check(t, unix.Chmod(path, n.Mode))
	}
	for name, value := range n.Xattrs {
		Check(t, unix.Lsetxattr(path, name, []byte(value), 0))
	}
}

// Check ends the test with an error.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Snapshot describes every file below dir in a line, hard links by the first of their names, times in whole seconds.
func Snapshot(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	first := map[tree.FileID]string{}
	Check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		var st unix.Stat_t
		Check(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("%q %o %d:%d t%d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path) //nolint:gosec // nobody else changes the tree of a test
			Check(t, err)
			line += fmt.Sprintf(" %d %x", st.Size, sha256.Sum256(data))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			Check(t, err)
			line += fmt.Sprintf(" -> %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		// Whiteouts share their inode, which nobody can see.
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR && !(st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0) {
			if name, ok := first[tree.ID(&st)]; ok {
				line += fmt.Sprintf(" = %q", name)
			} else {
				first[tree.ID(&st)] = rel
			}
		}
		lines = append(lines, line+xattrText(t, path))
		return nil
	}))
	return lines
}

func xattrText(t testing.TB, path string) string {
	t.Helper()
	buf, value := make([]byte, 8<<10), make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	Check(t, err)
	found := map[string]string{}
	for _, name := range strings.Split(string(buf[:n]), "\x00") {
		if name == OpaqueMark() || tree.IsStored(name) {
			n, err := unix.Lgetxattr(path, name, value)
			Check(t, err)
			found[name] = string(value[:n])
		}
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&text, " %s=%q", name, found[name])
	}
	return text.String()
}

// DiffLines fails the test with the lines that are in only one of two lists.
func DiffLines(t testing.TB, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Errorf("too much: %s", l)
		}
	}
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("missing: %s", l)
		}
	}
	if !t.Failed() {
		t.Errorf("order or number differs:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Capability2 is a version 2 file capability, CAP_NET_RAW permitted and effective.
const Capability2 = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Time is when the files of EveryKind were changed.
func Time() time.Time { return time.Unix(1700000000, 0) }

// EveryKind is a diff directory with each kind of file that Linux and overlay have.
func EveryKind() []Node {
	at := Time().Unix()
	long := strings.Repeat("n", 250)
	return []Node{
		{Path: "a", Type: tar.TypeDir, Mode: 0o755, MTime: at},
		{Path: "a/file", Type: tar.TypeReg, Mode: 0o644, Data: "hello\n", MTime: at},
		{Path: "a/link", Type: tar.TypeLink, Link: "a/file", MTime: at},
		{Path: "a-b", Type: tar.TypeReg, Mode: 0o4755, UID: 33, GID: 44, Data: "set-ID", MTime: at + 1},
		{Path: "block", Type: tar.TypeBlock, Mode: 0o660, Major: 8, Minor: 1, MTime: at},
		{Path: "cap", Type: tar.TypeReg, Mode: 0o755, Data: "x", MTime: at,
			Xattrs: map[string]string{"security.capability": Capability2, "user.empty": "", "user.b": "\x00\xff",
				"trusted.other": "1"}},
		{Path: "char", Type: tar.TypeChar, Mode: 0o666, Major: 1, Minor: 3, MTime: at},
		{Path: "empty", Type: tar.TypeReg, Mode: 0, UID: 100000, GID: 3000000, MTime: -5},
		{Path: "fifo", Type: tar.TypeFifo, Mode: 0o600, MTime: at},
		{Path: "gone", Type: 'w', UID: 7, GID: 8, MTime: at},
		{Path: "new\nline", Type: tar.TypeReg, Mode: 0o644, Data: "n", MTime: at},
		{Path: "opaque", Type: tar.TypeDir, Mode: 0o1777, MTime: at, Xattrs: map[string]string{OpaqueMark(): "y"}},
		{Path: "opaque/in", Type: tar.TypeReg, Mode: 0o644, Data: strings.Repeat("0123456789abcdef", 64), MTime: at},
		{Path: "sock", Type: 's', Mode: 0o600, MTime: at},
		{Path: "symlink", Type: tar.TypeSymlink, Link: "/absolute/target", MTime: at},
		{Path: long, Type: tar.TypeDir, Mode: 0o700, MTime: at, Xattrs: map[string]string{"user.dir": "d"}},
		{Path: long + "/" + long, Type: tar.TypeSymlink, Link: strings.Repeat("t", 300), MTime: at},
		{Path: "\xff\xfe", Type: tar.TypeReg, Mode: 0o644, Data: "raw", MTime: at},
		{Path: "ünïcode", Type: tar.TypeDir, Mode: 0o755, MTime: at},
	}
}

// OpenFiles counts this process's descriptors.
func OpenFiles(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	Check(t, err)
	return len(names)
}

// NothingLeft fails if there are more goroutines or descriptors than before. A goroutine that has done its work
// may take a moment to be gone.
func NothingLeft(t testing.TB, goroutines, files int) {
	t.Helper()
	// One that has given its result may still have to be run to its end, which nothing tells of.
	for end := time.Now().Add(10 * time.Minute); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := OpenFiles(t); n > files {
		t.Errorf("%d descriptors, %d before", n, files)
	}
}
