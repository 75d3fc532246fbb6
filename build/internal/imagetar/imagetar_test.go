package imagetar

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
)

// entry is a member of an archive that a test makes.
type entry struct {
	name, text, link string
	kind             byte
}

// packed makes an archive.
func packed(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Size: int64(len(e.text)), Mode: 0o644}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// open opens an archive of this content.
func open(t *testing.T, text []byte) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), path, func() (*os.File, error) { return os.CreateTemp(t.TempDir(), "") })
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return f, err
}

// images opens an archive and lists its images.
func images(t *testing.T, entries ...entry) ([]Image, *File, error) {
	t.Helper()
	f, err := open(t, packed(t, entries...))
	if err != nil {
		return nil, nil, err
	}
	all, err := f.Images()
	return all, f, err
}

// dockers is an archive as docker before version 25 writes it, with one layer at each of some places.
func dockers(layers ...string) []entry {
	var ids []digest.Digest
	for range layers {
		ids = append(ids, digest.FromString("layer"))
	}
	config, err := json.Marshal(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: ids}})
	if err != nil {
		panic(err)
	}
	list, err := json.Marshal([]dockerImage{{Config: "c.json", RepoTags: []string{"app:1"}, Layers: layers}})
	if err != nil {
		panic(err)
	}
	return []entry{{name: "c.json", text: string(config)}, {name: dockerList, text: string(list)}}
}

func TestDockersOldArchivesAreRead(t *testing.T) {
	t.Parallel()
	all, f, err := images(t, append(dockers("one/layer.tar", "two/layer.tar"), entry{name: "one/layer.tar", text: "layer"},
		entry{name: "two/", kind: tar.TypeDir},
		entry{name: "two/layer.tar", link: "../one/layer.tar", kind: tar.TypeSymlink})...)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || !cmp.Equal(all[0].Names, []string{"app:1"}) || !all[0].Docker {
		t.Fatalf("the images are %+v", all)
	}
	img, err := content.ReadImage(t.Context(), f, all[0].Root, ocispec.Platform{})
	if err != nil || len(img.Layers) != 2 || img.Layers[1].Digest != digest.FromString("layer") {
		t.Fatalf("%+v, %v", img, err)
	}
	r, err := f.Fetch(t.Context(), img.Layers[1])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "layer" {
		t.Errorf("a linked layer is %q, %v", text, err)
	}
}

// layout is an OCI layout with an image that has no names but those of its list.
func layout(annotations map[string]string) []entry {
	config := `{"rootfs":{"type":"layers","diff_ids":[]}}`
	blob := func(text string) entry {
		return entry{name: "blobs/sha256/" + digest.FromString(text).Encoded(), text: text}
	}
	manifest := fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, digest.FromString(config), len(config))
	index, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest,
		Digest: digest.FromString(manifest), Size: int64(len(manifest)), Annotations: annotations}}})
	if err != nil {
		panic(err)
	}
	return []entry{blob(config), blob(manifest), {name: "oci-layout", text: `{"imageLayoutVersion":"1.0.0"}`},
		{name: "./index.json", text: string(index)},
		{name: dockerList, text: fmt.Sprintf(`[{"Config":%q,"RepoTags":["list:1"]}]`, blob(config).name)}}
}

func TestNamesComeFromTheIndexOrElseFromDockersList(t *testing.T) {
	t.Parallel()
	for want, annotations := range map[string]map[string]string{
		"quay.io/a:1": {annotationName: "quay.io/a:1", ocispec.AnnotationRefName: "1"},
		"a:2":         {ocispec.AnnotationRefName: "a:2"},
		"list:1":      {ocispec.AnnotationRefName: "latest"},
	} {
		all, _, err := images(t, layout(annotations)...)
		if err != nil || len(all) != 1 || !cmp.Equal(all[0].Names, []string{want}) {
			t.Errorf("%v gives %+v, %v", annotations, all, err)
		}
	}
}

// TestHostileArchivesAreRefused: each error says what is wrong, and nothing of the host is read.
func TestHostileArchivesAreRefused(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0", 64)
	index := func(text string) []entry {
		return []entry{{name: "oci-layout", text: `{"imageLayoutVersion":"1.0.0"}`}, {name: "index.json", text: text}}
	}
	for name, test := range map[string]struct {
		entries []entry
		says    string
	}{
		"nothing": {nil, "it is no archive of images"},
		"files":   {[]entry{{name: "etc/passwd", text: "x"}}, "it is no archive of images"},
		"a link out of it": {[]entry{{name: "a", link: "../../etc/passwd", kind: tar.TypeSymlink}},
			"leads out of the archive"},
		"an absolute link": {[]entry{{name: dockerList, link: "/etc/passwd", kind: tar.TypeSymlink}},
			"leads out of the archive"},
		"links in a circle": {[]entry{{name: dockerList, link: "b", kind: tar.TypeLink},
			{name: "b", link: dockerList, kind: tar.TypeLink}}, "too many links"},
		"a device":           {[]entry{{name: dockerList, kind: tar.TypeChar}}, "is neither a file nor a directory"},
		"a pipe":             {[]entry{{name: dockerList, kind: tar.TypeFifo}}, "is neither a file nor a directory"},
		"a name without end": {[]entry{{name: strings.Repeat("a/", 3000)}}, "more than 4096 bytes"},
		"a huge list": {[]entry{{name: dockerList, text: "[" + strings.Repeat(" ", maxText) + "]"}},
			"more than 4194304 are not read"},
		"no JSON":       {[]entry{{name: dockerList, text: "{"}}, "manifest.json: "},
		"an empty list": {[]entry{{name: dockerList, text: "[]"}}, "there is no image in it"},
		"too many images": {[]entry{{name: dockerList, text: "[" + strings.Repeat("{},", maxImages) + "{}]"}},
			"more than 1000 images"},
		"a missing config":     {[]entry{{name: dockerList, text: `[{"Config":"x"}]`}}, "x: the archive has no such file"},
		"a config of the host": {[]entry{{name: dockerList, text: `[{"Config":"/etc/passwd"}]`}}, "no such file"},
		"a missing layer":      {dockers("none"), "none: the archive has no such file"},
		"too many layers":      {dockers(make([]string, maxLayers+1)...), "more than 500"},
		"another number of layers": {[]entry{{name: "c", text: "{}"},
			{name: dockerList, text: `[{"Config":"c","Layers":["a"]}]`}},
			"the list has 1 layers"},
		"another layout":  {[]entry{{name: "oci-layout", text: `{"imageLayoutVersion":"2"}`}}, `of version "2"`},
		"a digest's path": {index(`{"manifests":[{"digest":"sha256:../../etc/passwd"}]}`), "digest of an image"},
		"many manifests": {index(`{"manifests":[` + strings.Repeat(`{"digest":"sha256:`+sum+`"},`, maxImages) + `{}]}`),
			"more than 1000 images"},
	} {
		_, _, err := images(t, test.entries...)
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "root:") {
			t.Errorf("%s: %v\nwant %s", name, err, test.says)
		}
	}
	whole := packed(t, dockers("a")...)
	for name, text := range map[string][]byte{
		"cut off": whole[:len(whole)-1800], "no archive": []byte("hello\n"), "half of a gzip": {0x1f, 0x8b, 8},
	} {
		if f, err := open(t, text); err == nil {
			if _, err = f.Images(); err == nil {
				t.Errorf("%s is read", name)
			}
		}
	}
}

func TestABlobThatIsMissingOrOfAnotherSizeIsAnError(t *testing.T) {
	t.Parallel()
	all, f, err := images(t, layout(nil)...)
	if err != nil {
		t.Fatal(err)
	}
	d := all[0].Root
	if err := f.CheckSize(d); err != nil {
		t.Error(err)
	}
	d.Size++
	if err := f.CheckSize(d); err == nil || !strings.Contains(err.Error(), "the image is damaged or was changed") {
		t.Errorf("another size: %v", err)
	}
	if err := f.CheckSize(ocispec.Descriptor{Digest: digest.FromString("none")}); !errors.Is(err, content.ErrNotFound) {
		t.Errorf("a missing one: %v", err)
	}
	if _, err := f.Fetch(t.Context(), ocispec.Descriptor{Digest: "sha256:../x"}); err == nil {
		t.Error("a path is a digest")
	}
}

// TestABombIsRefused: an archive may grow, but not without end.
func TestABombIsRefused(t *testing.T) {
	t.Parallel()
	from := &counted{n: 1 << 20}
	b := &bounded{to: io.Discard, from: from, n: freeSize}
	if _, err := b.Write(make([]byte, 1<<20)); err == nil || !strings.Contains(err.Error(), "more than 200 times") {
		t.Errorf("1 MiB has become more than 1 GiB: %v", err)
	}
	from.n = 100 << 20
	if _, err := b.Write(make([]byte, 1<<20)); err != nil {
		t.Errorf("100 MiB have become 1 GiB: %v", err)
	}
}

func TestAReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(packed(t, layout(nil)...)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	spool := func() (*os.File, error) { return os.CreateTemp(t.TempDir(), "") }
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := Open(ctx, path, spool); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	f, err := Open(t.Context(), path, spool)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if all, err := f.Images(); err != nil || len(all) != 1 {
		t.Errorf("compressed: %v, %v", all, err)
	}
}

func TestDirectoriesAreReadWithoutLeavingThem(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{
		"empty":         {nil, "it has neither index.json nor manifest.json"},
		"a link out":    {map[string]string{dockerList: "->/etc/passwd"}, "escapes"},
		"a blob's path": {map[string]string{dockerList: `{"layers":[{"digest":"sha256:../x"}]}`}, "digest of a blob"},
		"skopeo's":      {map[string]string{dockerList: `{"schemaVersion":2}`, "version": "1"}, ""},
		"a directory":   {map[string]string{dockerList + "/x": ""}, "is not a regular file"},
	} {
		dir := t.TempDir()
		for file, text := range test.files {
			path := filepath.Join(dir, file)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if to, link := strings.CutPrefix(text, "->"); link {
				err = errors.Join(err, os.Symlink(to, path))
			} else {
				err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		f, err := Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Images()
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
