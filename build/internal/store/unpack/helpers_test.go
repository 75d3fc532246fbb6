package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// member is a member of an archive, with its data.
type member struct {
	tar.Header
	text string
}

func file(name, text string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text}
}

func directoryOf(name string, mode int64) member {
	return member{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, ""}
}

func linked(kind byte, name, target string) member {
	return member{tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o644}, ""}
}

func deviceOf(kind byte, name string, major, minor int64) member {
	return member{tar.Header{Typeflag: kind, Name: name, Mode: 0o600, Devmajor: major, Devminor: minor}, ""}
}

// with is a member with an extended attribute.
func with(m member, name, value string) member {
	m.PAXRecords = map[string]string{XattrRecord + name: value}
	return m
}

// owned is a member of an owner.
func owned(m member, uid, gid int) member {
	m.Uid, m.Gid = uid, gid
	return m
}

// archived makes an archive.
func archived(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if m.Size == 0 && m.Typeflag != tar.TypeXGlobalHeader {
			m.Size = int64(len(m.text))
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatalf("%.50s: %v", m.Name, err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// marks is the prefix of overlay's attributes that this process can set.
func marks() string {
	if asroot.Real() {
		return "trusted.overlay."
	}
	return "user.overlay."
}

// unpacking is one call of Unpack.
type unpacking struct {
	Options
	split bytes.Buffer
}

// begin is a call that unpacks an archive into a directory of the test's.
func begin(t testing.TB, archive []byte) *unpacking {
	t.Helper()
	w := NewWriters()
	t.Cleanup(w.Close)
	u := &unpacking{Options: Options{
		DiffID: digest.FromBytes(archive), Dir: filepath.Join(t.TempDir(), "layer"), Marks: marks(), Nested: !asroot.Real(),
		Writers: w,
	}}
	u.TarSplit = &u.split
	if err := os.Mkdir(u.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return u
}

// unpacked unpacks an archive.
func unpacked(t testing.TB, members ...member) (u *unpacking, res Result, err error) {
	t.Helper()
	archive := archived(t, members...)
	u = begin(t, archive)
	res, err = Unpack(t.Context(), bytes.NewReader(archive), u.Options)
	return u, res, err
}

// look lists a directory: the kind of each file with its text, target or numbers, its mode, and its owner if that isn't
// this process.
func look(t testing.TB, dir string) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if before, ok := first[st.Ino]; ok && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			all[name] = "is " + before
			return nil
		}
		first[st.Ino] = name
		all[name], err = describe(path, &st)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func describe(path string, st *unix.Stat_t) (string, error) {
	what, err := "", error(nil)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		what = "dir"
	case unix.S_IFREG:
		var text []byte
		text, err = os.ReadFile(path)
		what = "file " + string(text)
	case unix.S_IFLNK:
		what, err = os.Readlink(path)
		what = "link " + what
	case unix.S_IFIFO:
		what = "fifo"
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			what = "whiteout"
			break
		}
		what = fmt.Sprintf("char %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFBLK:
		what = fmt.Sprintf("block %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if what != "whiteout" && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		what += fmt.Sprintf(" @%04o", st.Mode&0o7777)
	}
	if st.Uid != 0 || st.Gid != 0 {
		what += fmt.Sprintf(":%d:%d", st.Uid, st.Gid)
	}
	return what, err
}

// xattrOf is an attribute of a file itself; empty if it has none.
func xattrOf(t testing.TB, path, name string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, name, buf)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return ""
	}
	if err != nil {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	return string(buf[:n])
}

// openFiles is how many descriptors this process has.
func openFiles(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.Contains(to, "/layer") {
			all = append(all, to)
		}
	}
	slices.Sort(all)
	return all
}

// cancelled is a context that has ended for a reason.
func cancelled(t testing.TB, why error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	return ctx
}
