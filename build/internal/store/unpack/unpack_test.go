package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/userns/asroot"
)

func TestMembersBecomeFiles(t *testing.T) {
	t.Parallel()
	deep := strings.TrimSuffix(strings.Repeat("d/", 60), "/")
	for name, test := range map[string]struct {
		members []member
		want    map[string]string
	}{
		"nothing": {nil, map[string]string{}},
		"kinds": {
			[]member{directoryOf("d/", 0o711), file("d/f", "text"), linked(tar.TypeSymlink, "l", "/etc/passwd"),
				linked(tar.TypeFifo, "p", "")},
			map[string]string{"d": "dir @0711", "d/f": "file text @0644", "l": "link /etc/passwd", "p": "fifo @0644"},
		},
		"modes with all their bits": {
			[]member{directoryOf("t", 0o1777), directoryOf("g", 0o2775), {tar.Header{Name: "su", Mode: 0o4755}, "s"},
				{tar.Header{Name: "none", Mode: 0}, ""}, {tar.Header{Name: "more", Mode: 0o100644}, ""}},
			map[string]string{"t": "dir @1777", "g": "dir @2775", "su": "file s @4755", "none": "file  @0000",
				"more": "file  @0644"},
		},
		"a set-ID bit after a change of owner": {
			[]member{owned(member{tar.Header{Name: "su", Mode: 0o6755}, "s"}, 3, 4)},
			map[string]string{"su": "file s @6755:3:4"},
		},
		"owners": {
			[]member{owned(directoryOf("d", 0o755), 1, 2), owned(file("d/f", ""), 3, 4),
				owned(linked(tar.TypeSymlink, "l", "d"), 5, 6), owned(linked(tar.TypeFifo, "p", ""), 7, 8)},
			map[string]string{"d": "dir @0755:1:2", "d/f": "file  @0644:3:4", "l": "link d:5:6", "p": "fifo @0644:7:8"},
		},
		"a closed directory that has files": {
			[]member{directoryOf("d", 0), file("d/f", "x")},
			map[string]string{"d": "dir @0000", "d/f": "file x @0644"},
		},
		"directories that no member is": {
			[]member{file(deep+"/f", "x"), directoryOf("d/d", 0o700)},
			func() map[string]string {
				all := map[string]string{deep + "/f": "file x @0644"}
				for dir := deep; dir != "."; dir = filepath.Dir(dir) {
					all[dir] = "dir @0755"
				}
				all["d/d"] = "dir @0700"
				return all
			}(),
		},
		"names in other words": {
			[]member{file("./a", "a"), file("/b", "b"), file("x/../c", "c"), file("d//e/.//f", "f"), directoryOf(".", 0o755)},
			map[string]string{"a": "file a @0644", "b": "file b @0644", "c": "file c @0644", "d": "dir @0755",
				"d/e": "dir @0755", "d/e/f": "file f @0644"},
		},
		"hard links before and after": {
			[]member{file("a", "text"), linked(tar.TypeLink, "b", "a"), linked(tar.TypeLink, "d/c", "/./a"),
				linked(tar.TypeLink, "e", "d/c")},
			map[string]string{"a": "file text @0644", "b": "is a", "d": "dir @0755", "d/c": "is a", "e": "is a"},
		},
		"a hard link to a symbolic one": {
			[]member{linked(tar.TypeSymlink, "a", "/etc/shadow"), linked(tar.TypeLink, "b", "a")},
			map[string]string{"a": "link /etc/shadow", "b": "is a"},
		},
		"what the last hard link says of its file": {
			[]member{file("a", "text"), owned(member{tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "a",
				Mode: 0o700}, ""}, 3, 4)},
			map[string]string{"a": "file text @0700:3:4", "b": "is a"},
		},
		"names that are no whiteouts": {
			[]member{file("wh.a", ""), file(".wha", ""), file(".w/h.x", ""), file(".wh", "")},
			map[string]string{"wh.a": "file  @0644", ".wha": "file  @0644", ".w": "dir @0755", ".w/h.x": "file  @0644",
				".wh": "file  @0644"},
		},
		"names of any bytes": {
			[]member{file("a\nb", "1"), file("\xff\xfe", "2"), file("ü", "3"), file(`\x2f`, "4"), file("-rf", "5")},
			map[string]string{"a\nb": "file 1 @0644", "\xff\xfe": "file 2 @0644", "ü": "file 3 @0644",
				`\x2f`: "file 4 @0644", "-rf": "file 5 @0644"},
		},
		"a global header": {
			[]member{{tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "c"}}, ""},
				file("a", "a")},
			map[string]string{"a": "file a @0644"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, res, err := unpacked(t, test.members...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, look(t, u.Dir)); diff != "" || res.Odd {
				t.Errorf("odd %v, files (-want +got):\n%s", res.Odd, diff)
			}
		})
	}
}

// TestFilesOfAllSizesAreWhole has sizes around those at which a file is written in another way.
func TestFilesOfAllSizesAreWhole(t *testing.T) {
	t.Parallel()
	var members []member
	for _, size := range []int{0, 1, 511, 512, 513, smallFile - 1, smallFile, smallFile + 1, pieceSize, pieceSize + 1,
		2*pieceSize + 7} {
		text := make([]byte, size)
		for i := range text {
			text[i] = byte(i * 7 >> 3)
		}
		members = append(members, file(fmt.Sprint(size), string(text)))
	}
	u, _, err := unpacked(t, members...)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		text, err := os.ReadFile(filepath.Join(u.Dir, m.Name))
		if err != nil || string(text) != m.text {
			t.Errorf("%s bytes: %d came, %v", m.Name, len(text), err)
		}
	}
}

func TestWhiteoutsBecomeOverlaysMarks(t *testing.T) {
	t.Parallel()
	u, res, err := unpacked(t, owned(file("d/.wh.gone", ""), 3, 4), file(".wh.-", ""), file(".wh.wh.x", ""),
		file("d/.wh..wh..opq", ""), file("d/new", "n"), file("other/x", ""), file(".wh..hidden", "what it has is nothing"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"d": "dir @0755", "d/gone": "whiteout:3:4", "-": "whiteout", "wh.x": "whiteout",
		"d/new": "file n @0644", "other": "dir @0755", "other/x": "file  @0644", ".hidden": "whiteout"}
	if diff := cmp.Diff(want, look(t, u.Dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for dir, want := range map[string]string{"/d": "y", "/other": "", "": ""} {
		if got := xattrOf(t, u.Dir+dir, marks()+"opaque"); got != want {
			t.Errorf("%s is opaque: %q, want %q", dir, got, want)
		}
	}
	if uids := slices.Sorted(maps.Keys(res.Members.UIDs)); !slices.Equal(uids, []uint32{0}) || !res.UIDs[3] {
		t.Errorf("owners %v, with whiteouts %v", uids, res.UIDs)
	}
}

func TestTheWholeLayerCanBeOpaque(t *testing.T) {
	t.Parallel()
	u, _, err := unpacked(t, file(".wh..wh..opq", ""), directoryOf("./", 0o711))
	if err != nil {
		t.Fatal(err)
	}
	if got := xattrOf(t, u.Dir, marks()+"opaque"); got != "y" {
		t.Errorf("the root is opaque: %q", got)
	}
}

func TestDevicesAreMadeByThoseWhoMay(t *testing.T) {
	t.Parallel()
	u, _, err := unpacked(t, deviceOf(tar.TypeChar, "null", 1, 3), deviceOf(tar.TypeBlock, "disk", 8, 1),
		deviceOf(tar.TypeBlock, "zero", 0, 0), deviceOf(tar.TypeChar, "last", 4095, 1<<20-1), file("f", ""))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"f": "file  @0644"}
	if asroot.Real() {
		want = map[string]string{"f": "file  @0644", "null": "char 1:3 @0600", "disk": "block 8:1 @0600",
			"zero": "block 0:0 @0600", "last": "char 4095:1048575 @0600"}
	}
	if diff := cmp.Diff(want, look(t, u.Dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestAttributesAreSet(t *testing.T) {
	t.Parallel()
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	acl := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x07\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
	u, res, err := unpacked(t, with(directoryOf("d", 0o755), "system.posix_acl_default", acl), file("d/f", "x"),
		owned(with(file("ping", "p"), "security.capability", capability), 3, 4),
		with(file("label", ""), "security.selinux", "of another machine"),
		with(file("a", ""), "system.posix_acl_access", acl), file("plain", ""),
		with(member{tar.Header{Typeflag: tar.TypeLink, Name: "b", Linkname: "plain", Mode: 0o755}, ""},
			"security.capability", capability))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, attr, want string }{
		{"ping", "security.capability", capability}, {"plain", "security.capability", capability},
		{"label", "security.selinux", ""}, {"d", "system.posix_acl_default", acl}, {"a", "system.posix_acl_access", acl},
		{"d/f", "system.posix_acl_access", ""}, // what is in the directory has what the archive says
	} {
		if got := xattrOf(t, filepath.Join(u.Dir, test.name), test.attr); got != test.want {
			t.Errorf("%s of %s is %q, want %q", test.attr, test.name, got, test.want)
		}
	}
	if !res.UIDs[7] || res.Members.UIDs[7] {
		t.Errorf("user 7 of the access control lists: %v, of members: %v", res.UIDs, res.Members.UIDs)
	}
}

func TestTimesAreThoseOfTheArchive(t *testing.T) {
	t.Parallel()
	at := func(m member, mod, access time.Time) member {
		m.ModTime, m.AccessTime, m.Format = mod, access, tar.FormatPAX
		return m
	}
	exact, late := time.Unix(1_600_000_000, 123_456_789), time.Unix(1_700_000_000, 5)
	u, _, err := unpacked(t, at(directoryOf("d", 0o755), exact, late), at(file("d/f", "x"), exact, late),
		at(file("d/early", "x"), late, exact), at(file("old", ""), time.Unix(-5, 0), time.Time{}),
		at(linked(tar.TypeSymlink, "l", "x"), exact, time.Time{}), at(linked(tar.TypeFifo, "p", ""), exact, late),
		at(linked(tar.TypeLink, "l2", "l"), late, late), at(file("far", ""), time.Unix(1<<34, 0), time.Time{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name        string
		mod, access time.Time
	}{
		{"d", exact, late}, {"d/f", exact, late}, {"d/early", late, late}, // the later one, as the library has it
		{"old", time.Unix(0, 0), time.Unix(0, 0)}, {"far", time.Unix(0, 0), time.Unix(0, 0)},
		{"l", exact, exact}, {"p", exact, late},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(u.Dir, test.name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mtim.Nano() != test.mod.UnixNano() || st.Atim.Nano() != test.access.UnixNano() {
			t.Errorf("%s is of %v, was read at %v, want %v and %v", test.name, time.Unix(st.Mtim.Unix()).UTC(),
				time.Unix(st.Atim.Unix()).UTC(), test.mod.UTC(), test.access.UTC())
		}
	}
}

func TestTheRootsAttributesAreTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		members []member
		root    bool
		mode    uint32
	}{
		"none": {[]member{file("a", "")}, false, 0o700}, "some": {[]member{directoryOf("./", 0o1711)}, true, 0o1711},
		"at the end": {[]member{file("a", ""), directoryOf("/", 0o555)}, true, 0o555},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			archive := archived(t, test.members...)
			u := begin(t, archive)
			// It may lie in a directory that gives all files in it a group and a mode.
			if err := os.Chmod(u.Dir, os.ModeSetgid|0o777); err != nil {
				t.Fatal(err)
			}
			res, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
			if err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(u.Dir, &st); err != nil {
				t.Fatal(err)
			}
			if res.Root != test.root || st.Mode&0o7777 != test.mode {
				t.Errorf("root: %v, its mode is %04o", res.Root, st.Mode&0o7777)
			}
		})
	}
}

// TestTheArchiveCanBeMadeAgain makes it of the files and the records, as the library does.
func TestTheArchiveCanBeMadeAgain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long/", 40)
	archive := archived(t, directoryOf("d/", 0o755), file("d/a", "a"), file("d/big", strings.Repeat("b", smallFile+5)),
		file(long+"name", "in a header of its own"), with(file("x", "attr"), "user.a", "b"), file(".wh.gone", ""),
		linked(tar.TypeLink, "hard", "d/a"), file("d/.wh..wh..opq", ""),
		member{tar.Header{Name: "gnu" + long + "name", Format: tar.FormatGNU}, "gnu"})
	for name, text := range map[string][]byte{
		"as it is": archive, "with zeros behind": append(bytes.Clone(archive), make([]byte, 200<<10)...),
		"with something behind": append(bytes.Clone(archive), "text"...), "without an end mark": archive[:len(archive)-1024],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := begin(t, text)
			res, err := Unpack(t.Context(), bytes.NewReader(text), u.Options)
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(u.split.Bytes()) {
				if !json.Valid(line) {
					t.Fatalf("it has the record %q", line)
				}
			}
			var again bytes.Buffer
			if err := asm.WriteOutputTarStream(storage.NewPathFileGetter(u.Dir),
				storage.NewJSONUnpacker(&u.split), &again); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Bytes(), text) || res.Size != int64(len(text)) {
				t.Errorf("%d bytes become %d, %d are told", len(text), again.Len(), res.Size)
			}
		})
	}
}

func TestTheCompressionIsTold(t *testing.T) {
	t.Parallel()
	plain := archived(t, file("a", strings.Repeat("text", 100)))
	zipped := new(bytes.Buffer)
	g := gzip.NewWriter(zipped)
	if _, err := g.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	two := append(z.EncodeAll(plain[:512], nil), z.EncodeAll(plain[512:], nil)...)
	for name, test := range map[string]struct {
		blob []byte
		want decompress.Format
	}{
		"plain": {plain, decompress.None}, "gzip": {zipped.Bytes(), decompress.Gzip}, "zstd": {two, decompress.Zstd},
	} {
		u := begin(t, plain)
		from := bytes.NewReader(test.blob)
		res, err := Unpack(t.Context(), from, u.Options)
		if err != nil || res.Format != test.want || res.Size != int64(len(plain)) {
			t.Errorf("%s: format %v, %d bytes, %v", name, res.Format, res.Size, err)
		}
		if _, err := from.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: a part of the blob isn't read: %v", name, err)
		}
	}
}

// ending gives an error in place of the end, as a reader that checks a digest does.
type ending struct {
	io.Reader
	err error
}

func (e ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = e.err
	}
	return n, err
}

// TestABlobIsReadToItsEnd has a reader that knows only there whether the bytes were right.
func TestABlobIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	plain := archived(t, file("a", "text"))
	zip := func(text []byte) []byte {
		var b bytes.Buffer
		g := gzip.NewWriter(&b)
		_, err := g.Write(text)
		if err := errors.Join(err, g.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	wrong := errors.New("it has another digest")
	for name, blob := range map[string][]byte{
		"plain": plain, "gzip": zip(plain), "gzip in two parts": append(zip(plain[:700]), zip(plain[700:])...),
		"gzip with nothing at its end": append(zip(plain), zip(nil)...),
	} {
		for _, end := range []error{io.EOF, wrong} {
			from := ending{bytes.NewReader(blob), end}
			_, scanned := Scan(from, digest.FromBytes(plain))
			from.Reader = bytes.NewReader(blob)
			_, unpacked := Unpack(t.Context(), from, begin(t, plain).Options)
			for way, err := range map[string]error{"scanned": scanned, "unpacked": unpacked} {
				if errors.Is(end, wrong) != errors.Is(err, wrong) || errors.Is(end, io.EOF) && err != nil {
					t.Errorf("%s, %s: %v, its end is %v", name, way, err, end)
				}
			}
		}
	}
}
