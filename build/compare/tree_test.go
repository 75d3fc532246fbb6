package compare

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
)

// stack has the streams of layers by their IDs.
type stack map[string][]byte

func (s stack) LayerStream(l store.Layer) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s[l.ID])), nil
}

// layerOf makes the stream of a layer: names that end with a slash are directories.
func layerOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLayersHideWhatIsBelowThem(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		top  []string
		want string
	}{
		"nothing":               {nil, "/d /d/a /d/s /d/s/b /f"},
		"a whiteout":            {[]string{"d/.wh.a"}, "/d /d/s /d/s/b /f"},
		"of a directory":        {[]string{".wh.d"}, "/f"},
		"opaque":                {[]string{"d/", "d/new", "d/.wh..wh..opq"}, "/d /d/new /f"},
		"a file on a directory": {[]string{"d"}, "/d /f"},
		"a name that leads out": {[]string{"../../x"}, "/d /d/a /d/s /d/s/b /f /x"},
		"of nothing":            {[]string{".wh.none"}, "/d /d/a /d/s /d/s/b /f"},
		"without a name":        {[]string{"d/.wh."}, "/d /d/a /d/s /d/s/b /f"},
		"all":                   {[]string{".wh..wh..opq", "d/new"}, "/d /d/new"},
		"after a file in it":    {[]string{"d/s/new", ".wh.d"}, "/d /d/s /d/s/new /f"},
	} {
		from := stack{"0": layerOf(t, "d/", "d/a", "d/s/", "d/s/b", "f"), "1": layerOf(t, test.top...)}
		files := tree{}
		for n, id := range []string{"0", "1"} {
			if err := files.put(t.Context(), from, store.Layer{ID: id}, n); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(files)), " "); got != test.want {
			t.Errorf("%s: %s, not %s", name, got, test.want)
		}
	}
	if err := (tree{}).put(t.Context(), stack{"0": []byte(strings.Repeat("x", 1024))}, store.Layer{ID: "0"},
		0); err == nil {
		t.Error("what is no archive is read")
	}
}

// TestManyWhiteoutsTakeOnePass would take hours if each looked at all files.
func TestManyWhiteoutsTakeOnePass(t *testing.T) {
	t.Parallel()
	var below, above []string
	for n := range 30_000 {
		below, above = append(below, "d"+strconv.Itoa(n)+"/"), append(above, ".wh.d"+strconv.Itoa(n))
	}
	files := tree{}
	from := stack{"0": layerOf(t, below...), "1": layerOf(t, append(above, "new")...)}
	for n, id := range []string{"0", "1"} {
		if err := files.put(t.Context(), from, store.Layer{ID: id}, n); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
}

// TestDirectoriesThatNoMemberIsAreHiddenToo has archives in which a directory is only a part of a path.
func TestDirectoriesThatNoMemberIsAreHiddenToo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ below, top, want string }{
		"a whiteout":           {"d/a d/s/b f", ".wh.d", "/f"},
		"a whiteout within":    {"d/a d/s/b f", "d/.wh.s", "/d/a /f"},
		"a file on it":         {"d/a d/s/b f", "d", "/d /f"},
		"a member for it":      {"d/a f", "d/", "/d /d/a /f"},
		"opaque":               {"d/a d/s/b f", "d/s/.wh..wh..opq d/s/c", "/d/a /d/s/c /f"},
		"a new one in its way": {"d/a", ".wh.d d/b", "/d/b"},
	} {
		from := stack{"0": layerOf(t, strings.Fields(test.below)...), "1": layerOf(t, strings.Fields(test.top)...)}
		files := tree{}
		for n, id := range []string{"0", "1"} {
			if err := files.put(t.Context(), from, store.Layer{ID: id}, n); err != nil {
				t.Fatal(err)
			}
		}
		maps.DeleteFunc(files, func(_ string, f file) bool { return f.implied })
		if got := strings.Join(slices.Sorted(maps.Keys(files)), " "); got != test.want {
			t.Errorf("%s: %s, not %s", name, got, test.want)
		}
	}
}

func TestAttributesAreComparedWithoutBeingKept(t *testing.T) {
	t.Parallel()
	of := func(records map[string]string) string { return attributesOf(&tar.Header{PAXRecords: records}) }
	one := of(map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 1<<16), "SCHILY.xattr.user.b": "y"})
	for name, other := range map[string]string{
		"none":          of(map[string]string{"mtime": "1", "path": "x"}),
		"fewer":         of(map[string]string{"SCHILY.xattr.user.b": "y"}),
		"another value": of(map[string]string{"SCHILY.xattr.user.a": "x", "SCHILY.xattr.user.b": "y"}),
		"in other parts": of(map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 1<<16) +
			"\nSCHILY.xattr.user.b=y"}),
	} {
		if other == one || name == "none" && other != "" {
			t.Errorf("%s: the same", name)
		}
	}
	if len(one) > 64 {
		t.Errorf("%d bytes are kept", len(one))
	}
}

func TestFilesDifferByName(t *testing.T) {
	t.Parallel()
	a := file{kind: tar.TypeReg, mode: 0o644, uid: 1, modified: 1}
	for want, change := range map[string]func(*file){
		"": func(*file) {}, "mode": func(f *file) { f.mode = 0o600 }, "owner": func(f *file) { f.gid = 2 },
		"content": func(f *file) { f.sum[0] = 1 }, "time": func(f *file) { f.modified = 2 },
		"link": func(f *file) { f.link = "x" },
		"type": func(f *file) { f.kind = tar.TypeSymlink }, "attributes": func(f *file) { f.attributes = "x" },
	} {
		b := a
		change(&b)
		if got := strings.Join(a.differences(b), ","); got != want {
			t.Errorf("%q is %q", want, got)
		}
	}
}

// member is a member of a layer, for what layerOf can't say.
func member(kind byte, change func(h *tar.Header)) tar.Header {
	h := tar.Header{Name: "x", Typeflag: kind, Mode: 0o644, ModTime: time.Unix(1, 0)}
	change(&h)
	return h
}

// TestFilesDifferInWhatTheyAre has one file in two images.
func TestFilesDifferInWhatTheyAre(t *testing.T) {
	t.Parallel()
	plain := member(tar.TypeReg, func(*tar.Header) {})
	for want, other := range map[string]tar.Header{
		"":          plain,
		"mode":      member(tar.TypeReg, func(h *tar.Header) { h.Mode = 0o4755 }),
		"owner":     member(tar.TypeReg, func(h *tar.Header) { h.Uid = 7 }),
		"time":      member(tar.TypeReg, func(h *tar.Header) { h.ModTime = time.Unix(2, 0) }),
		"type,link": member(tar.TypeSymlink, func(h *tar.Header) { h.Linkname = "y" }),
		"type":      member(tar.TypeFifo, func(*tar.Header) {}),
		"attributes": member(tar.TypeReg,
			func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b"} }),
	} {
		from := stack{}
		var both [2]images.Found
		for i, h := range []tar.Header{plain, other} {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
				t.Fatal(err)
			}
			id := strconv.Itoa(i)
			from[id] = b.Bytes()
			both[i].Layers = []store.Layer{{ID: id, DiffID: digest.FromString(id)}}
		}
		got, err := files(t.Context(), from, both)
		what := ""
		if len(got) == 1 && got[0].Path == "/x" && got[0].Change == "changed" {
			what = strings.Join(got[0].What, ",")
		}
		if err != nil || what != want || len(got) > 1 {
			t.Errorf("%q: %+v, %v", want, got, err)
		}
	}
}
