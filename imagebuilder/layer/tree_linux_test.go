package layer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// overlayXattr is the prefix that overlayfs uses for this user.
func overlayXattr() string {
	if asroot.Real() {
		return "trusted.overlay."
	}
	return "user.overlay."
}

func opaqueMark() string { return overlayXattr() + "opaque" }

// node describes a file of a test tree.
type node struct {
	path         string
	typ          byte // as in tar headers; 'w' whiteout, 's' socket
	mode         uint32
	uid, gid     int
	data         string
	link         string
	major, minor uint32
	mtime        int64
	xattrs       map[string]string
}

// makeTree makes the nodes below dir. Times are set last, since a directory's change with its content.
func makeTree(t testing.TB, dir string, nodes []node) {
	t.Helper()
	for _, n := range nodes {
		makeNode(t, filepath.Join(dir, n.path), filepath.Join(dir, n.link), n)
	}
	for _, n := range nodes {
		ts := []unix.Timespec{{Sec: 1}, unix.NsecToTimespec(n.mtime*1e9 + 999_999_999)}
		check(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, n.path), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// possible is what root of a user namespace can make: no devices, no attributes of the machine's root, and owners of
// 65536 IDs.
func (n node) possible() node {
	if n.typ == typeBlock || n.typ == typeChar {
		n.typ = typeFifo
	}
	n.uid, n.gid, n.xattrs = n.uid%65536, n.gid%65536, maps.Clone(n.xattrs)
	maps.DeleteFunc(n.xattrs, func(name, _ string) bool { return strings.HasPrefix(name, "trusted.") })
	return n
}

func makeNode(t testing.TB, path, linkPath string, n node) {
	t.Helper()
	if !asroot.Real() {
		n = n.possible()
	}
	switch n.typ {
	case typeReg:
		check(t, os.WriteFile(path, []byte(n.data), 0o600))
	case typeLink:
		check(t, os.Link(linkPath, path))
		return
	case typeSymlink:
		check(t, os.Symlink(n.link, path))
	case typeDir:
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	case typeFifo:
		check(t, unix.Mkfifo(path, 0o600))
	case typeChar, 'w':
		check(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(n.major, n.minor))))
	case typeBlock:
		check(t, unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(n.major, n.minor))))
	case 's':
		check(t, unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
	}
	check(t, os.Lchown(path, n.uid, n.gid))
	if n.typ != typeSymlink {
		check(t, unix.Chmod(path, n.mode))
	}
	for name, value := range n.xattrs {
		check(t, unix.Lsetxattr(path, name, []byte(value), 0))
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot describes every file below dir in a line, hard links by the first of their names, times in whole seconds.
func snapshot(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	first := map[fileID]string{}
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		var st unix.Stat_t
		check(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("%q %o %d:%d t%d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			check(t, err)
			line += fmt.Sprintf(" %d %x", st.Size, sha256.Sum256(data))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			check(t, err)
			line += fmt.Sprintf(" -> %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		// Whiteouts share their inode, which nobody can see.
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR && !(st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0) {
			if name, ok := first[idOf(&st)]; ok {
				line += fmt.Sprintf(" = %q", name)
			} else {
				first[idOf(&st)] = rel
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
	check(t, err)
	found := map[string]string{}
	for _, name := range strings.Split(string(buf[:n]), "\x00") {
		if name == opaqueMark() || isStored(name) {
			n, err := unix.Lgetxattr(path, name, value)
			check(t, err)
			found[name] = string(value[:n])
		}
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&text, " %s=%q", name, found[name])
	}
	return text.String()
}

// diffLines fails the test with the lines that are in only one of two lists.
func diffLines(t testing.TB, got, want []string) {
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

// capability2 is a version 2 file capability, CAP_NET_RAW permitted and effective.
const capability2 = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

var testTime = time.Unix(1700000000, 0)

// everyKind is a diff directory with each kind of file that Linux and overlay have.
func everyKind() []node {
	at := testTime.Unix()
	long := strings.Repeat("n", 250)
	return []node{
		{path: "a", typ: typeDir, mode: 0o755, mtime: at},
		{path: "a/file", typ: typeReg, mode: 0o644, data: "hello\n", mtime: at},
		{path: "a/link", typ: typeLink, link: "a/file", mtime: at},
		{path: "a-b", typ: typeReg, mode: 0o4755, uid: 33, gid: 44, data: "set-ID", mtime: at + 1},
		{path: "block", typ: typeBlock, mode: 0o660, major: 8, minor: 1, mtime: at},
		{path: "cap", typ: typeReg, mode: 0o755, data: "x", mtime: at,
			xattrs: map[string]string{"security.capability": capability2, "user.empty": "", "user.b": "\x00\xff",
				"trusted.other": "1"}},
		{path: "char", typ: typeChar, mode: 0o666, major: 1, minor: 3, mtime: at},
		{path: "empty", typ: typeReg, mode: 0, uid: 100000, gid: 3000000, mtime: -5},
		{path: "fifo", typ: typeFifo, mode: 0o600, mtime: at},
		{path: "gone", typ: 'w', uid: 7, gid: 8, mtime: at},
		{path: "new\nline", typ: typeReg, mode: 0o644, data: "n", mtime: at},
		{path: "opaque", typ: typeDir, mode: 0o1777, mtime: at, xattrs: map[string]string{opaqueMark(): "y"}},
		{path: "opaque/in", typ: typeReg, mode: 0o644, data: strings.Repeat("0123456789abcdef", 64), mtime: at},
		{path: "sock", typ: 's', mode: 0o600, mtime: at},
		{path: "symlink", typ: typeSymlink, link: "/absolute/target", mtime: at},
		{path: long, typ: typeDir, mode: 0o700, mtime: at, xattrs: map[string]string{"user.dir": "d"}},
		{path: long + "/" + long, typ: typeSymlink, link: strings.Repeat("t", 300), mtime: at},
		{path: "\xff\xfe", typ: typeReg, mode: 0o644, data: "raw", mtime: at},
		{path: "ünïcode", typ: typeDir, mode: 0o755, mtime: at},
	}
}
