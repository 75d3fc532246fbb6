package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
)

var update = flag.Bool("update", false, "write golden files")

// layerOf reads dir and checks what must hold for every layer. It returns the stream.
func layerOf(t testing.TB, dir string, o Options) (Result, []byte) {
	t.Helper()
	return layerBy(t, dir, o, func(o Options) (Result, error) { return Read(context.Background(), dir, o) })
}

func layerBy(t testing.TB, dir string, o Options, read func(Options) (Result, error)) (Result, []byte) {
	t.Helper()
	var stream, split bytes.Buffer
	o.Tar, o.TarSplit = &stream, &split
	if o.OverlayXattr == "" {
		o.OverlayXattr = treetest.OverlayXattr()
	}
	res, err := read(o)
	treetest.Check(t, err)
	if want := digest.FromBytes(stream.Bytes()); res.DiffID != want || res.Size != int64(stream.Len()) {
		t.Errorf("diffID %s, size %d of a stream with %s, %d", res.DiffID, res.Size, want, stream.Len())
	}
	if err := res.Content.Validate(); err != nil {
		t.Errorf("content digest: %v", err)
	}
	checkTarSplit(t, dir, stream.Bytes(), split.Bytes())
	o.Tar, o.TarSplit = nil, nil
	alone, err := read(o)
	treetest.Check(t, err)
	if !reflect.DeepEqual(alone, res) {
		t.Errorf("result without writers: %+v, with them %+v", alone, res)
	}
	return res, stream.Bytes()
}

// checkTarSplit compares the metadata with the library's own and has that rebuild the stream from the directory.
func checkTarSplit(t testing.TB, dir string, stream, split []byte) {
	t.Helper()
	var want bytes.Buffer
	again, done, err := asm.NewInputTarStreamWithDone(bytes.NewReader(stream), storage.NewJSONPacker(&want), nil)
	treetest.Check(t, err)
	_, err = io.Copy(io.Discard, again)
	treetest.Check(t, err)
	treetest.Check(t, <-done)
	if !bytes.Equal(split, want.Bytes()) {
		t.Errorf("tar-split differs from the library's:\n%.2000s\nwant\n%.2000s", split, want.Bytes())
	}
	var rebuilt bytes.Buffer
	treetest.Check(t, asm.WriteOutputTarStream(storage.NewPathFileGetter(dir),
		storage.NewJSONUnpacker(bytes.NewReader(split)),
		&rebuilt))
	if !bytes.Equal(rebuilt.Bytes(), stream) {
		t.Error("the stream rebuilt from tar-split differs")
	}
}

// listing describes the entries of a stream as archive/tar reads them.
func listing(t testing.TB, stream []byte) []string {
	t.Helper()
	var lines []string
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		treetest.Check(t, err)
		data, err := io.ReadAll(r)
		treetest.Check(t, err)
		line := fmt.Sprintf("%c %05o %d:%d %d t%d %q", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.Unix(), h.Name)
		if h.Linkname != "" {
			line += fmt.Sprintf(" -> %q", h.Linkname)
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			line += fmt.Sprintf(" %d,%d", h.Devmajor, h.Devminor)
		}
		if len(data) > 0 {
			line += fmt.Sprintf(" %.8x", sha256.Sum256(data))
		}
		for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			if strings.HasPrefix(k, xattrKey) {
				line += fmt.Sprintf(" %s=%q", strings.TrimPrefix(k, xattrKey), h.PAXRecords[k])
			}
		}
		if h.Uname+h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() || h.ModTime.Nanosecond() != 0 {
			t.Errorf("header says more than it should: %+v", h)
		}
		lines = append(lines, line)
	}
}

func TestAsRootReadWritesEveryKindOfFile(t *testing.T) {
	dir := t.TempDir()
	treetest.Make(t, dir, treetest.EveryKind())
	res, stream := layerOf(t, dir, Options{})
	text := fmt.Sprintf("%s\n\n%s %d\nuids %v gids %v empty %v\n", strings.Join(listing(t, stream), "\n"), res.DiffID,
		res.Size, res.UIDs, res.GIDs, res.Empty)
	golden := filepath.Join("testdata", "every-kind.golden")
	if *update {
		treetest.Check(t, os.WriteFile(golden, []byte(text), 0o644))
	}
	want, err := os.ReadFile(golden)
	treetest.Check(t, err)
	treetest.DiffLines(t, strings.Split(text, "\n"), strings.Split(string(want), "\n"))
}

func TestReadIsTheSameForTheSameTree(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	nodes := treetest.EveryKind()
	treetest.Make(t, a, nodes)
	// Made in another order, the directory lists its names in another one.
	backward := slices.Clone(nodes)
	slices.SortStableFunc(backward,
		func(x, y treetest.Node) int { return strings.Count(x.Path, "/") - strings.Count(y.Path, "/") })
	for i := 0; i < 5; i++ {
		backward[i+2], backward[11-i] = backward[11-i], backward[i+2]
	}
	treetest.Make(t, b, backward)
	ra, sa := layerOf(t, a, Options{})
	rb, sb := layerOf(t, b, Options{})
	if !reflect.DeepEqual(ra, rb) || !bytes.Equal(sa, sb) {
		t.Errorf("two layers of one tree: %+v, %+v", ra, rb)
	}
}

func TestReadGNUTarUnpacksTheSameTree(t *testing.T) {
	for _, locale := range []string{"C", "C.UTF-8"} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(locale, seed), func(t *testing.T) {
				src, dst := t.TempDir(), t.TempDir()
				treetest.Make(t, src, treetest.Random(seed, false))
				_, stream := layerOf(t, src, Options{})
				unpack(t, locale, stream, dst)
				treetest.DiffLines(t, treetest.Snapshot(t, dst), treetest.Snapshot(t, src))
			})
		}
	}
}

func unpack(t *testing.T, locale string, stream []byte, dst string) {
	t.Helper()
	cmd := exec.Command("tar", "--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-",
		"-C", dst)
	cmd.Env = append(os.Environ(), "LC_ALL="+locale)
	cmd.Stdin = bytes.NewReader(stream)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

func TestReadReplacesTimes(t *testing.T) {
	dir := t.TempDir()
	treetest.Make(t, dir, []treetest.Node{
		{Path: "early", Type: typeReg, MTime: 100},
		{Path: "late", Type: typeDir, MTime: 200},
	})
	clamp := time.Unix(150, 999)
	_, stream := layerOf(t, dir, Options{Date: &Date{Time: clamp}})
	treetest.DiffLines(t, listing(t, stream), []string{
		`0 00000 0:0 0 t100 "early"`,
		`5 00000 0:0 0 t150 "late/"`,
	})
	_, stream = layerOf(t, dir, Options{Date: &Date{Time: clamp, Exact: true}})
	treetest.DiffLines(t, listing(t, stream), []string{
		`0 00000 0:0 0 t150 "early"`,
		`5 00000 0:0 0 t150 "late/"`,
	})
}

func TestReadTranslatesOwners(t *testing.T) {
	dir := t.TempDir()
	// Version 3 file capabilities whose root IDs are 1000 and 1033.
	capability3 := func(root string) string {
		return strings.Replace(treetest.Capability2, "\x02\x00\x20", "\x03\x00\x20", 1) + root
	}
	treetest.Make(t, dir, []treetest.Node{
		{Path: "a", Type: typeReg, UID: 1033, GID: 2001,
			Xattrs: map[string]string{tree.CapabilityXattr: capability3("\xe8\x03\x00\x00")}},
		{Path: "b", Type: typeReg, UID: 1000, GID: 2000,
			Xattrs: map[string]string{tree.CapabilityXattr: capability3("\x09\x04\x00\x00")}},
		{Path: "gone", Type: 'w', UID: 5, GID: 5},
	})
	owners := func(uid, gid uint32) (uint32, uint32, error) {
		if uid < 1000 || gid < 2000 {
			return 0, 0, errors.New("not mapped")
		}
		return uid - 1000, gid - 2000, nil
	}
	res, stream := layerOf(t, dir, Options{Owners: owners})
	treetest.DiffLines(t, listing(t, stream), []string{
		fmt.Sprintf(`0 00000 33:1 0 t0 "a" security.capability=%q`, treetest.Capability2),
		fmt.Sprintf(`0 00000 0:0 0 t0 "b" security.capability=%q`, capability3("\x21\x00\x00\x00")),
		`0 00000 0:0 0 t0 ".wh.gone"`,
	})
	if !slices.Equal(res.UIDs, []uint32{0, 33}) || !slices.Equal(res.GIDs, []uint32{0, 1}) {
		t.Errorf("IDs %v %v", res.UIDs, res.GIDs)
	}
	treetest.Make(t, dir, []treetest.Node{{Path: "c", Type: typeDir, UID: 1}})
	_, err := Read(context.Background(), dir, Options{Owners: owners})
	if err == nil || !strings.Contains(err.Error(), `"c/"`) || !strings.Contains(err.Error(), "not mapped") {
		t.Errorf("error %v", err)
	}
}

func TestReadRootEntry(t *testing.T) {
	dir := t.TempDir()
	treetest.Check(t, os.Chmod(dir, 0o755))
	parent, err := ReadRootAttr(dir)
	treetest.Check(t, err)
	read := func() (Result, []string) {
		res, stream := layerOf(t, dir, Options{ParentRoot: &parent})
		return res, listing(t, stream)
	}
	res, lines := read()
	if !res.Empty || len(lines) > 0 || res.Size != 1024 {
		t.Errorf("unchanged root: %+v %q", res, lines)
	}
	treetest.Check(t, os.Chtimes(dir, treetest.Time(), treetest.Time()))
	if res, lines = read(); !res.Empty || len(lines) > 0 {
		t.Errorf("root with another time: %+v %q", res, lines)
	}
	for _, change := range []func() error{
		func() error { return unix.Chmod(dir, 0o1750) },
		func() error { return os.Chown(dir, 0, 9) },
		func() error { return unix.Setxattr(dir, "user.a", []byte("b"), 0) },
	} {
		treetest.Check(t, change())
		if res, lines = read(); res.Empty || len(lines) != 1 {
			t.Errorf("changed root: %+v %q", res, lines)
		}
		parent, err = ReadRootAttr(dir)
		treetest.Check(t, err)
		if res, _ = read(); !res.Empty {
			t.Error("root that equals its parent is not empty")
		}
	}
	treetest.DiffLines(t, lines, []string{`5 01750 0:9 0 t1700000000 "./" user.a="b"`})
	if res, err = Read(context.Background(), dir, Options{}); err != nil || !res.Empty {
		t.Errorf("root without parent: %+v %v", res, err)
	}
}

func TestReadRefuses(t *testing.T) {
	failing := errors.New("disk full")
	for name, c := range map[string]struct {
		node treetest.Node
		o    Options
		want error
		text string
	}{
		"a name like a mark": {node: treetest.Node{Path: ".wh.x", Type: typeReg}, want: ErrReservedName, text: `".wh.x"`},
		"a directory like one": {node: treetest.Node{Path: ".wh..wh..opq", Type: typeDir}, want: ErrReservedName,
			text: `".wh..wh..opq"`},
		"a redirect": {node: treetest.Node{Path: "d", Type: typeDir,
			Xattrs: map[string]string{treetest.OverlayXattr() + "redirect": "/x"}}, want: ErrRedirect, text: `"d/"`},
		"a metadata copy": {node: treetest.Node{Path: "f", Type: typeReg,
			Xattrs: map[string]string{treetest.OverlayXattr() + "metacopy": ""}}, want: ErrRedirect, text: `"f"`},
		"an xattr with =": {node: treetest.Node{Path: "f", Type: typeReg, Xattrs: map[string]string{"user.a=b": ""}},
			want: ErrXattrName, text: `"f"`},
		"a tar write error": {node: treetest.Node{Path: "f", Type: typeReg}, o: Options{Tar: failWriter{failing}},
			want: failing},
		"a tar-split error": {node: treetest.Node{Path: "f", Type: typeReg}, o: Options{TarSplit: failWriter{failing}},
			want: failing},
		"an error half-way": {node: treetest.Node{Path: "f", Type: typeReg, Data: strings.Repeat("x", 9<<20)},
			o: Options{Tar: failWriter{failing}}, want: failing},
		"an error at the end": {node: treetest.Node{Path: "f", Type: typeReg, Data: strings.Repeat("x", 9<<20)},
			o: Options{TarSplit: failWriter{failing}}, want: failing},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			treetest.Make(t, dir, []treetest.Node{c.node})
			c.o.OverlayXattr = treetest.OverlayXattr()
			_, err := Read(context.Background(), dir, c.o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v with %s", err, c.want, c.text)
			}
		})
	}
	if _, err := Read(context.Background(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err,
		os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

type failWriter struct{ err error }

func (w failWriter) Write([]byte) (int, error) { return 0, w.err }

func TestSetRootAttrGivesWhatReadRootAttrFound(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	treetest.Check(t, os.Chown(from, 5, 6))
	treetest.Check(t, unix.Chmod(from, 0o3751))
	treetest.Check(t, unix.Setxattr(from, "user.a", []byte("1"), 0))
	want, err := ReadRootAttr(from)
	treetest.Check(t, err)
	treetest.Check(t, SetRootAttr(to, want))
	got, err := ReadRootAttr(to)
	treetest.Check(t, err)
	if !reflect.DeepEqual(got, want) || want.Mode != 0o3751 || want.Xattrs["user.a"] != "1" {
		t.Errorf("attributes %+v, want %+v", got, want)
	}
}
