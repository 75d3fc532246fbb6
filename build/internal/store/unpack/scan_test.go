package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

func packed(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func scan(text []byte) (*Archive, error) {
	return Scan(bytes.NewReader(text), digest.FromBytes(text))
}

func TestLayersAreReadWhateverTheyAreCompressedWith(t *testing.T) {
	t.Parallel()
	plain := packed(t, tar.Header{Name: "a", Uid: 5, Gid: 6})
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
	frame := z.EncodeAll(plain, nil)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, frame...)
	for name, text := range map[string][]byte{
		"plain": plain, "gzip": zipped.Bytes(), "zstd": frame, "zstd after a frame to skip": skippable,
		"gzip and something behind": append(bytes.Clone(plain), make([]byte, 10<<10)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := digest.FromBytes(plain)
			if strings.HasSuffix(name, "behind") { // it belongs to the archive
				want = digest.FromBytes(text)
			}
			found, err := Scan(bytes.NewReader(text), want)
			if err != nil {
				t.Fatal(err)
			}
			uids := slices.Sorted(maps.Keys(found.UIDs))
			if diff := cmp.Diff([]uint32{5}, uids); diff != "" || found.Size < int64(len(plain)) {
				t.Errorf("%d bytes, owners (-want +got):\n%s", found.Size, diff)
			}
		})
	}
}

func TestLayersThatAreNotWhatTheySayAreRefused(t *testing.T) {
	t.Parallel()
	plain := packed(t, tar.Header{Name: "a"})
	for name, test := range map[string]struct {
		text []byte
		want string
	}{
		"another digest": {append(bytes.Clone(plain), 0), "unpacked it has digest"},
		"xz":             {[]byte("\xfd7zXZ\x00"), "compressed with xz"},
		"a short gzip":   {[]byte("\x1f\x8b\x08"), "decompress"},
		"half a header":  {plain[:100], "read its archive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Scan(bytes.NewReader(test.text), digest.FromBytes(plain))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestMembersThatWouldNotBeWhatTheyAreAreRefused(t *testing.T) {
	t.Parallel()
	attr := func(name string) map[string]string { return map[string]string{"SCHILY.xattr." + name: "y"} }
	for name, test := range map[string]struct {
		h    tar.Header
		want string // empty: it is taken
	}{
		"outside":                   {tar.Header{Name: "../a"}, "outside of the image"},
		"outside in the end":        {tar.Header{Name: "a/../../b"}, "outside of the image"},
		"inside in the end":         {tar.Header{Name: "a/../b"}, ""},
		"a link to outside":         {tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../b"}, "hard link"},
		"a symbolic one to outside": {tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "../b"}, ""},
		"the ID that is none":       {tar.Header{Name: "a", Uid: 1<<32 - 1}, "IDs go from 0"},
		"the highest ID":            {tar.Header{Name: "a", Gid: 1<<32 - 2}, ""},
		"a whiteout of overlay's":   {tar.Header{Name: "a", Typeflag: tar.TypeChar}, "device 0:0"},
		"another device":            {tar.Header{Name: "a", Typeflag: tar.TypeChar, Devmajor: 1}, ""},
		"a mark of a user's":        {tar.Header{Name: "a", PAXRecords: attr("user.overlay.opaque")}, "user.overlay.opaque"},
		"a mark of root's": {tar.Header{Name: "a", PAXRecords: attr("trusted.overlay.redirect")},
			"overlay.redirect"},
		"a mark without effect": {tar.Header{Name: "a", PAXRecords: attr("user.overlay.origin")}, ""},
		"another attribute":     {tar.Header{Name: "a", PAXRecords: attr("user.other")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := scan(packed(t, test.h))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestOddLayersAreToldFromOthers(t *testing.T) {
	t.Parallel()
	file := func(name string) tar.Header { return tar.Header{Name: name} }
	dir := func(name string) tar.Header { return tar.Header{Name: name + "/", Typeflag: tar.TypeDir} }
	link := func(name, to string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to} }
	for name, test := range map[string]struct {
		members []tar.Header
		odd     bool
	}{
		"files":                             {[]tar.Header{dir("d"), file("d/a"), file("b")}, false},
		"a path twice":                      {[]tar.Header{file("a"), file("./a")}, true},
		"a link to a file before":           {[]tar.Header{file("a"), link("b", "a")}, false},
		"a link to a file after":            {[]tar.Header{link("b", "a"), file("a")}, true},
		"a link to a file below":            {[]tar.Header{link("b", "a")}, true},
		"a whiteout":                        {[]tar.Header{file(".wh.a"), file("b")}, false},
		"a whiteout of what is there":       {[]tar.Header{file("a"), file(".wh.a")}, true},
		"a file where a whiteout was":       {[]tar.Header{file(".wh.a"), file("a")}, false},
		"files in a directory that is anew": {[]tar.Header{file(".wh.d"), dir("d"), file("d/a")}, true},
		"an opaque directory":               {[]tar.Header{dir("d"), file("d/.wh..wh..opq"), file("d/a")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := scan(packed(t, test.members...))
			if err != nil || found.Odd != test.odd {
				t.Errorf("odd: %v, want %v; %v", found.Odd, test.odd, err)
			}
		})
	}
}

func TestAllIDsOfALayerAreFound(t *testing.T) {
	t.Parallel()
	// A list of one user, 7, and one group, 8, as Linux has it on disk.
	acl := "\x02\x00\x00\x00" + "\x02\x00\x06\x00\x07\x00\x00\x00" + "\x08\x00\x06\x00\x08\x00\x00\x00"
	found, err := scan(packed(t,
		tar.Header{Name: "a", Uid: 1, Gid: 2},
		tar.Header{Name: "b", Uid: 3, Gid: 2, PAXRecords: map[string]string{"SCHILY.xattr.system.posix_acl_access": acl}},
	))
	if err != nil {
		t.Fatal(err)
	}
	ids := [][]uint32{slices.Sorted(maps.Keys(found.UIDs)), slices.Sorted(maps.Keys(found.GIDs))}
	if diff := cmp.Diff([][]uint32{{1, 3, 7}, {2, 8}}, ids); diff != "" {
		t.Errorf("IDs (-want +got):\n%s", diff)
	}
}

// TestADecoderIsBounded: a frame may ask for more memory than there is.
func TestADecoderIsBounded(t *testing.T) {
	t.Parallel()
	z, err := zstd.NewWriter(io.Discard, zstd.WithWindowSize(zstd.MaxWindowSize), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z.Reset(&b)
	if _, err := z.Write(packed(t, tar.Header{Name: "a", Size: 1 << 20})); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Scan(&b, digest.FromString("")); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("got %v", err)
	}
}
