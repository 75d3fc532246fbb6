package owners

import (
	"archive/tar"
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

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
	"github.com/cooperbuild/cooper/userns/asroot"
)

var errNoID = errors.New("no such ID")

// plus adds n to IDs up to a limit.
func plus(n int, limit uint32) Translation {
	add := func(id uint32) (uint32, error) {
		if id > limit {
			return 0, errNoID
		}
		return uint32(int(id) + n), nil
	}
	return Translation{UID: add, GID: add}
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
	treetest.Make(t, dir, []treetest.Node{
		{Path: "d", Type: tar.TypeDir, Mode: 0o2775, UID: 33, GID: 1, MTime: 5},
		{Path: "d/opaque", Type: tar.TypeDir, Mode: 0o700, UID: 0, GID: 0, MTime: 6,
			Xattrs: map[string]string{treetest.OpaqueMark(): "y"}},
		{Path: "d/suid", Type: tar.TypeReg, Mode: 0o4755, UID: 1000, GID: highest() - 2, Data: "suid", MTime: 7},
		{Path: "d/cap", Type: tar.TypeReg, Mode: 0o755, Data: "cap", MTime: 8,
			Xattrs: map[string]string{tree.CapabilityXattr: capV2,
				"user.x": "y"}},
		{Path: "acl", Type: tar.TypeReg, Mode: 0o664, UID: highest(), GID: highest() - 1, Data: "acl", MTime: 9,
			Xattrs: map[string]string{aclAccess: aclV2}},
		{Path: "sym", Type: tar.TypeSymlink, Link: "nowhere", UID: 4, GID: 5, MTime: 10},
		{Path: "gone", Type: 'w', MTime: 11},
		{Path: ".wh.gone2", Type: tar.TypeReg, Mode: 0o600, UID: 1 << 20, GID: 1 << 20},
		{Path: "fifo", Type: tar.TypeFifo, Mode: 0o640, UID: 1, GID: 2, MTime: 12},
	})
	for i := range 3 * batchSize {
		treetest.Check(t, os.WriteFile(filepath.Join(dir, "d/opaque", "n"+strings.Repeat("x", i%200)+string(rune('a'+i%26))+
			string(rune('0'+i/26))), []byte{byte(i)}, 0o644))
	}
	treetest.Check(t, os.Link(filepath.Join(dir, "d/suid"), filepath.Join(dir, "hard")))
	f, err := os.Create(filepath.Join(dir, "sparse"))
	treetest.Check(t, err)
	_, err = f.WriteAt([]byte("end"), 8<<20)
	treetest.Check(t, errors.Join(err, f.Close()))
	return dir
}

// wholeTree describes all of a tree but change times.
func wholeTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[uint64]string{}
	treetest.Check(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		treetest.Check(t, unix.Lstat(path, &st))
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
	treetest.Check(t, Copy(context.Background(), dst, src, plus(shiftBy(), 65535)))
	var st unix.Stat_t
	treetest.Check(t, unix.Lstat(filepath.Join(dst, "acl"), &st))
	if sum := uint32(highest() + shiftBy()); st.Uid != sum || st.Gid != sum-1 {
		t.Errorf("acl belongs to %d:%d", st.Uid, st.Gid)
	}
	x := tree.Xattrs{}
	value, _, err := x.Value(at(t, filepath.Join(dst, "d/cap")), tree.CapabilityXattr)
	treetest.Check(t, err)
	if want := string(binary.LittleEndian.AppendUint32([]byte("\x01\x00\x00\x03"+capV2[4:]),
		uint32(shiftBy()))); value != want {
		t.Errorf("capability %x, want %x", value, want)
	}
	treetest.Check(t, unix.Lstat(filepath.Join(dst, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d bytes", st.Blocks*512)
	}
	treetest.Check(t, Translate(context.Background(), dst, plus(-shiftBy(), 1<<30)))
	sameSnapshots(t, wholeTree(t, dst), before)
	sameSnapshots(t, wholeTree(t, src), before)
}

// at is the file at a path, open.
func at(t *testing.T, path string) tree.Node {
	t.Helper()
	f, err := os.Open(path)
	treetest.Check(t, err)
	t.Cleanup(func() { f.Close() })
	return tree.Node{FD: int(f.Fd())}
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
		treetest.Check(t, err)
		b = append(b, string(data))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		var x tree.Xattrs
		f := at(t, path)
		var names []string
		treetest.Check(t, x.Names(f, func(name string) error { names = append(names, name); return nil }))
		slices.Sort(names)
		for _, name := range names {
			value, _, err := x.Value(f, name)
			treetest.Check(t, err)
			b = append(b, name+"="+value)
		}
	}
	return strings.Join(b, " ")
}

func TestShiftNamesTheFileWhoseOwnerIsUnmapped(t *testing.T) {
	src, limit := shiftTree(t), uint32(highest()-5000)
	for name, err := range map[string]error{
		"copy":     Copy(context.Background(), t.TempDir(), src, plus(5, limit)),
		"in place": Translate(context.Background(), src, plus(5, limit)),
	} {
		if !errors.Is(err, errNoID) || !strings.Contains(err.Error(), `"/acl"`) &&
			!strings.Contains(err.Error(), `"/d/suid"`) && !strings.Contains(err.Error(), `"/hard"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadIDsFindsAllThatAShiftTranslates(t *testing.T) {
	uids, gids, err := IDs(context.Background(), shiftTree(t))
	treetest.Check(t, err)
	if want := []uint32{0, 1, 4, 7, 33, 1000, uint32(highest())}; !slices.Equal(uids, want) {
		t.Errorf("user IDs %v, want %v", uids, want)
	}
	if want := []uint32{0, 1, 2, 5, uint32(highest() - 2), uint32(highest() - 1)}; !slices.Equal(gids, want) {
		t.Errorf("group IDs %v, want %v", gids, want)
	}
}
