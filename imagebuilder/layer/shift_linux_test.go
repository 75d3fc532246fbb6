package layer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/asroot"
)

var errNoID = errors.New("no such ID")

// plus adds n to IDs up to a limit.
func plus(n int, limit uint32) IDShift {
	add := func(id uint32) (uint32, error) {
		if id > limit {
			return 0, errNoID
		}
		return uint32(int(id) + n), nil
	}
	return IDShift{UID: add, GID: add}
}

const (
	capV2 = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	aclV2 = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x07\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
)

// highest is the highest owner in the tree, and shiftBy what is added to owners. A user namespace of 65537 IDs holds
// their sum.
func highest() int {
	if asroot.Real() {
		return 65535
	}
	return 30000
}

func shiftBy() int {
	if asroot.Real() {
		return 100000
	}
	return 35535
}

// shiftTree is a tree with everything in it that a change of owner could break.
func shiftTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	makeTree(t, dir, []node{
		{path: "d", typ: typeDir, mode: 0o2775, uid: 33, gid: 1, mtime: 5},
		{path: "d/opaque", typ: typeDir, mode: 0o700, uid: 0, gid: 0, mtime: 6, xattrs: map[string]string{opaqueMark(): "y"}},
		{path: "d/suid", typ: typeReg, mode: 0o4755, uid: 1000, gid: highest() - 2, data: "suid", mtime: 7},
		{path: "d/cap", typ: typeReg, mode: 0o755, data: "cap", mtime: 8, xattrs: map[string]string{capabilityXattr: capV2,
			"user.x": "y"}},
		{path: "acl", typ: typeReg, mode: 0o664, uid: highest(), gid: highest() - 1, data: "acl", mtime: 9,
			xattrs: map[string]string{aclAccess: aclV2}},
		{path: "sym", typ: typeSymlink, link: "nowhere", uid: 4, gid: 5, mtime: 10},
		{path: "gone", typ: 'w', mtime: 11},
		{path: ".wh.gone2", typ: typeReg, mode: 0o600, uid: 1 << 20, gid: 1 << 20},
		{path: "fifo", typ: typeFifo, mode: 0o640, uid: 1, gid: 2, mtime: 12},
	})
	for i := range 3 * batchSize {
		check(t, os.WriteFile(filepath.Join(dir, "d/opaque", "n"+strings.Repeat("x", i%200)+string(rune('a'+i%26))+
			string(rune('0'+i/26))), []byte{byte(i)}, 0o644))
	}
	check(t, os.Link(filepath.Join(dir, "d/suid"), filepath.Join(dir, "hard")))
	f, err := os.Create(filepath.Join(dir, "sparse"))
	check(t, err)
	_, err = f.WriteAt([]byte("end"), 8<<20)
	check(t, errors.Join(err, f.Close()))
	return dir
}

// wholeTree describes all of a tree but change times.
func wholeTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[uint64]string{}
	check(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		check(t, unix.Lstat(path, &st))
		rel, _ := filepath.Rel(dir, path)
		if first[st.Ino] == "" {
			first[st.Ino] = rel
		}
		text := describe(t, path, &st)
		all[rel] = first[st.Ino] + " " + text
		return nil
	}))
	return all
}

func TestCopyShiftedAndBackIsTheSame(t *testing.T) {
	src, dst := shiftTree(t), t.TempDir()
	before := wholeTree(t, src)
	check(t, CopyShifted(context.Background(), dst, src, plus(shiftBy(), 65535)))
	var st unix.Stat_t
	check(t, unix.Lstat(filepath.Join(dst, "acl"), &st))
	if sum := uint32(highest() + shiftBy()); st.Uid != sum || st.Gid != sum-1 {
		t.Errorf("acl belongs to %d:%d", st.Uid, st.Gid)
	}
	x := xattrReader{buf: make([]byte, 1<<10)}
	value, _, err := x.value(xattrFile{}.at(t, filepath.Join(dst, "d/cap")), capabilityXattr)
	check(t, err)
	if want := string(binary.LittleEndian.AppendUint32([]byte("\x01\x00\x00\x03"+capV2[4:]),
		uint32(shiftBy()))); value != want {
		t.Errorf("capability %x, want %x", value, want)
	}
	check(t, unix.Lstat(filepath.Join(dst, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d bytes", st.Blocks*512)
	}
	check(t, Shift(context.Background(), dst, plus(-shiftBy(), 1<<30)))
	sameSnapshots(t, wholeTree(t, dst), before)
	sameSnapshots(t, wholeTree(t, src), before)
}

// at is the file at a path, open.
func (xattrFile) at(t *testing.T, path string) xattrFile {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	return xattrFile{fd: int(f.Fd())}
}

func sameSnapshots(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: got %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d names, want %d", len(got), len(want))
	}
}

func describe(t *testing.T, path string, st *unix.Stat_t) string {
	t.Helper()
	var b []string
	b = append(b, fmt.Sprint(st.Mode, st.Rdev, st.Nlink))
	if !isMark(filepath.Base(path), st) {
		b = append(b, fmt.Sprint(st.Uid, st.Gid, st.Mtim))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		data, err := os.ReadFile(path)
		check(t, err)
		b = append(b, string(data))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		var x xattrReader
		f := xattrFile{}.at(t, path)
		var names []string
		check(t, x.names(f, func(name string) error { names = append(names, name); return nil }))
		slices.Sort(names)
		for _, name := range names {
			value, _, err := x.value(f, name)
			check(t, err)
			b = append(b, name+"="+value)
		}
	}
	return strings.Join(b, " ")
}

func TestShiftNamesTheFileWhoseOwnerIsUnmapped(t *testing.T) {
	src, limit := shiftTree(t), uint32(highest()-5000)
	for name, err := range map[string]error{
		"copy":     CopyShifted(context.Background(), t.TempDir(), src, plus(5, limit)),
		"in place": Shift(context.Background(), src, plus(5, limit)),
	} {
		if !errors.Is(err, errNoID) || !strings.Contains(err.Error(), `"/acl"`) &&
			!strings.Contains(err.Error(), `"/d/suid"`) && !strings.Contains(err.Error(), `"/hard"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadIDsFindsAllThatAShiftTranslates(t *testing.T) {
	uids, gids, err := ReadIDs(context.Background(), shiftTree(t))
	check(t, err)
	if want := []uint32{0, 1, 4, 7, 33, 1000, uint32(highest())}; !slices.Equal(uids, want) {
		t.Errorf("user IDs %v, want %v", uids, want)
	}
	if want := []uint32{0, 1, 2, 5, uint32(highest() - 2), uint32(highest() - 1)}; !slices.Equal(gids, want) {
		t.Errorf("group IDs %v, want %v", gids, want)
	}
}
