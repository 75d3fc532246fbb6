package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// stdHeader encodes an entry with the standard library.
func stdHeader(e *entry) ([]byte, error) {
	h := &tar.Header{
		Typeflag: e.typ, Name: string(e.name), Linkname: e.link, Size: e.size, Mode: int64(e.mode),
		Uid: int(e.uid), Gid: int(e.gid), Devmajor: int64(e.major), Devminor: int64(e.minor), ModTime: time.Unix(e.mtime, 0),
	}
	for _, x := range e.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrKey+x.Name] = x.Value
	}
	var out bytes.Buffer
	err := tar.NewWriter(&out).WriteHeader(h)
	return out.Bytes(), err
}

func TestHeaderEqualsStandardLibrary(t *testing.T) {
	long := strings.Repeat("d/", 60)
	file := entry{name: []byte("file"), typ: typeReg, mode: 0o644, size: 5, mtime: 1700000000}
	with := func(change func(e *entry)) entry {
		e := file
		change(&e)
		return e
	}
	named := func(name string) entry { return with(func(e *entry) { e.name = []byte(name) }) }
	for name, e := range map[string]entry{
		"plain":                file,
		"root":                 {name: []byte("./"), typ: typeDir, mode: 0o755},
		"root with xattr":      {name: []byte("./"), typ: typeDir, xattrs: []tree.Xattr{{Name: "user.a", Value: "b"}}},
		"directory":            {name: []byte("a/b/"), typ: typeDir, mode: 0o1777},
		"directory with xattr": {name: []byte("a/b/"), typ: typeDir, xattrs: []tree.Xattr{{Name: "user.a", Value: ""}}},
		"device":               {name: []byte("dev"), typ: typeBlock, major: 4095, minor: 1048575},
		"fifo":                 {name: []byte("p"), typ: typeFifo, mode: 0o600},
		"set-ID and sticky":    with(func(e *entry) { e.mode = 0o7777 }),
		"symlink":              {name: []byte("l"), typ: typeSymlink, link: "../target", mode: 0o777},
		"symlink of 100":       {name: []byte("l"), typ: typeSymlink, link: strings.Repeat("x", 100)},
		"symlink of 101":       {name: []byte("l"), typ: typeSymlink, link: strings.Repeat("x", 101)},
		"symlink cut at slash": {name: []byte("l"), typ: typeSymlink, link: strings.Repeat("x", 98) + "//" + "y"},
		"symlink not ASCII":    {name: []byte("l"), typ: typeSymlink, link: "zïel"},
		"hard link":            {name: []byte("h"), typ: typeLink, link: long + "x"},
		"name of 100":          named(strings.Repeat("n", 100)),
		"name of 101":          named(strings.Repeat("n", 101)),
		"name of 300":          named(strings.Repeat("n", 300)),
		"split name":           named(long + "name"),
		"split directory":      {name: []byte(long + strings.Repeat("e", 80) + "/"), typ: typeDir},
		"prefix of 155":        named(strings.Repeat("p", 155) + "/" + strings.Repeat("n", 100)),
		"prefix of 156":        named(strings.Repeat("p", 156) + "/" + strings.Repeat("n", 100)),
		"name cut at slash":    named(strings.Repeat("n", 99) + "/" + strings.Repeat("m", 101)),
		"split name with xattr": with(func(e *entry) {
			e.name = []byte(long + "n")
			e.xattrs = []tree.Xattr{{Name: "user.x",
				Value: "y"}}
		}),
		"name not ASCII":       named("größe"),
		"name not UTF-8":       named("gr\xf6\xdfe/\xff"),
		"name all non-ASCII":   named("a/\xff\xfe"),
		"newline":              named("a\nb"),
		"record of 99 and 100": named(strings.Repeat("ä", 45)),
		"UID of 21 bits":       with(func(e *entry) { e.uid, e.gid = 1<<21-1, 1<<21-1 }),
		"UID of 22 bits":       with(func(e *entry) { e.uid = 1 << 21 }),
		"GID of 32 bits":       with(func(e *entry) { e.gid = 1<<32 - 1 }),
		"size below 8 GiB":     with(func(e *entry) { e.size = 1<<33 - 1 }),
		"size of 8 GiB":        with(func(e *entry) { e.size = 1 << 33 }),
		"time before 1970":     with(func(e *entry) { e.mtime = -1 }),
		"time after 2242":      with(func(e *entry) { e.mtime = 1 << 33 }),
		"binary xattr": with(func(e *entry) {
			e.xattrs = []tree.Xattr{{Name: "security.capability", Value: "\x01\x00\n=\xff"},
				{Name: "user.z", Value: "1"}}
		}),
		"everything at once": {name: []byte(long + "\xff"), typ: typeReg, link: "",
			xattrs: []tree.Xattr{{Name: "user.a", Value: "1"}},
			uid:    1 << 22, gid: 1 << 23, size: 1 << 40, mtime: -5},
		"xattr and long link": {name: []byte("l"), typ: typeLink, link: strings.Repeat("x", 200),
			xattrs: []tree.Xattr{{Name: "user.a", Value: "1"}}},
		"many lengths near 100": with(
			func(e *entry) { e.xattrs = []tree.Xattr{{Name: "user.x", Value: strings.Repeat("v", 74)}} }),
		"record grows by its count": with(
			func(e *entry) { e.xattrs = []tree.Xattr{{Name: "user.x", Value: strings.Repeat("v", 972)}} }),
	} {
		t.Run(name, func(t *testing.T) {
			want, err := stdHeader(&e)
			if err != nil {
				t.Fatal(err)
			}
			var w headerWriter
			for range 2 { // the second time with buffers in use
				got, err := w.encode(&e)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("header:\n%q\nwant\n%q", got, want)
				}
			}
		})
	}
}

func TestRecordLengthCountsItself(t *testing.T) {
	for n := range 1200 {
		rec := string(appendRecord(nil, "k", "ey", strings.Repeat("v", n)))
		size, _, _ := strings.Cut(rec, " ")
		var length int
		for _, c := range size {
			length = 10*length + int(c-'0')
		}
		if length != len(rec) {
			t.Errorf("record of %d bytes says %d", len(rec), length)
		}
	}
}

func TestHeaderRefusesWhatNoReaderTakes(t *testing.T) {
	for name, c := range map[string]struct {
		e    entry
		want error
	}{
		"xattr name with =": {entry{name: []byte("f"), xattrs: []tree.Xattr{{Name: "user.a=b", Value: "1"}}}, ErrXattrName},
		"more than 1 MiB": {entry{name: []byte("f"),
			xattrs: []tree.Xattr{{Name: "user.a", Value: strings.Repeat("x", 1<<20)}}},
			ErrHeaderTooLarge},
		"name more than 1 MB": {entry{name: bytes.Repeat([]byte("n/"), 1<<19), typ: typeDir}, ErrHeaderTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			var w headerWriter
			if _, err := w.encode(&c.e); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// FuzzHeader holds the encoder to the standard library's, and the standard library's reader to giving back what went
// in.
func FuzzHeader(f *testing.F) {
	f.Add("a/b", "", []byte(nil), int64(0), uint32(0))
	f.Add("gr\xf6\xdfe\n", "to", []byte("v"), int64(-1), uint32(1<<31))
	f.Add(strings.Repeat("long/", 60), strings.Repeat("t", 120), []byte{0, 0xff}, int64(1)<<34, uint32(7))
	f.Fuzz(func(t *testing.T, name, link string, value []byte, mtime int64, uid uint32) {
		name = strings.TrimRight(strings.TrimLeft(name, "/"), "/")
		for _, part := range strings.Split(name, "/") {
			if part == "" || part == "." || part == ".." {
				return // not a name in a layer
			}
		}
		if strings.Contains(name+link, "\x00") || len(name)+len(link)+len(value) > 1<<19 || mtime > 1<<40 || mtime < -1<<40 {
			return // not possible on Linux
		}
		e := entry{name: []byte(name), typ: typeReg, mtime: mtime, uid: uid}
		if link != "" {
			e.typ, e.link = typeSymlink, link
		}
		if len(value) > 0 {
			e.xattrs = []tree.Xattr{{Name: "user.x", Value: string(value)}}
		}
		checkHeader(t, &e)
	})
}

func checkHeader(t *testing.T, e *entry) {
	t.Helper()
	var w headerWriter
	got, err := w.encode(e)
	if err != nil {
		t.Fatal(err)
	}
	want, err := stdHeader(e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("header:\n%q\nwant\n%q", got, want)
	}
	h, err := tar.NewReader(bytes.NewReader(got)).Next()
	if err != nil {
		t.Fatal(err)
	}
	if h.Name != string(e.name) || h.Linkname != e.link || h.ModTime.Unix() != e.mtime || h.Uid != int(e.uid) {
		t.Errorf("read back %+v from %+v", h, e)
	}
	for _, x := range e.xattrs {
		if got := h.PAXRecords[xattrKey+x.Name]; got != x.Value {
			t.Errorf("xattr read back %q, want %q", got, x.Value)
		}
	}
}
