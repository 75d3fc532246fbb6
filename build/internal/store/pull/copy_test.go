package pull_test

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
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// origin is a source of images in memory.
type origin struct {
	mu      sync.Mutex
	content map[digest.Digest][]byte
	fetched []digest.Digest
	// before is called with what is about to be fetched.
	before func(d ocispec.Descriptor) error
}

var _ content.Fetcher = (*origin)(nil)

func newOrigin() *origin { return &origin{content: map[digest.Digest][]byte{}} }

func (o *origin) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if o.before != nil {
		if err := o.before(d); err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetched = append(o.fetched, d.Digest)
	text, ok := o.content[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s is missing", d.Digest)
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

func (o *origin) put(mediaType string, text []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	o.content[d.Digest] = text
	return d
}

// layerBlob is a layer as it is in a registry: blob is tar, compressed in some way.
type layerBlob struct{ tar, blob []byte }

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// image puts an image together.
func (o *origin) image(layers ...layerBlob) ocispec.Descriptor {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	ids := []digest.Digest{}
	for _, l := range layers {
		ids = append(ids, digest.FromBytes(l.tar))
		m.Layers = append(m.Layers, o.put(ocispec.MediaTypeImageLayerGzip, l.blob))
	}
	m.Config = o.put(ocispec.MediaTypeImageConfig, encode(map[string]any{
		"os": "linux", "architecture": "amd64", "created": "2020-01-02T03:04:05Z", "rootfs": map[string]any{"type": "layers",
			"diff_ids": ids},
	}))
	return o.put(m.MediaType, encode(m))
}

// tarOf makes a tar stream of files; those of a name that ends in a slash are directories.
func tarOf(headers ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := ""
		if h.Typeflag == 0 && !strings.HasSuffix(h.Name, "/") && !strings.Contains(h.Name, ".wh.") {
			text = "text of " + h.Name
		}
		h.Size, h.Mode = int64(len(text)), 0o755
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func zipped(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// gzipLayer makes a layer of files.
func gzipLayer(names ...string) layerBlob {
	var headers []tar.Header
	for _, n := range names {
		headers = append(headers, tar.Header{Name: n})
	}
	text := tarOf(headers...)
	return layerBlob{text, zipped(text)}
}

func copyOptions(name string) pull.CopyOptions {
	return pull.CopyOptions{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Name: name}
}

// left lists the layers and images of a store, and the files in its temporary directories.
func left(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*-layers/layers.json", "*-images/images.json"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var records []struct{ ID string }
			if err := json.Unmarshal(text, &records); err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				all = append(all, pattern+" "+r.ID)
			}
		}
	}
	for _, pattern := range []string{"cooper/tmp/*", "overlay/staging/*", "overlay-layers/tmp/*/*", "overlay/tmp/*/*"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	return all
}

func TestACopiedImageHasItsFiles(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, o)
			src := newOrigin()
			plain := gzipLayer("c")
			plain.blob = plain.tar
			other := gzipLayer("d")
			enc, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			other.blob = enc.EncodeAll(other.tar, nil)
			below := gzipLayer("a", "b/", "b/c")
			root := src.image(below, gzipLayer(".wh.a", "b/d"), plain, other, below)
			img, err := s.Pull.Copy(t.Context(), src, root, copyOptions("example.test/app:1"))
			if err != nil {
				t.Fatal(err)
			}
			var entries []string
			for _, l := range img.Layers {
				names, d := storetest.List(t, s, l)
				if d != l.DiffID {
					t.Errorf("layer %s reads back as %s", l.DiffID, d)
				}
				entries = append(entries, strings.Join(names, " "))
			}
			if diff := cmp.Diff([]string{"a b/ b/c", ".wh.a b/d", "c", "d", "a b/ b/c"}, entries); diff != "" {
				t.Error(diff)
			}
			if img.Name != "example.test/app:1" || img.Digest != root.Digest {
				t.Errorf("found as %s, %s", img.Name, img.Digest)
			}
			for _, n := range []string{"example.test/app:1", "example.test/app@" + root.Digest.String(), img.ID} {
				if again, err := s.Images.Find(t.Context(), n); err != nil || again.ID != img.ID {
					t.Errorf("%s: %v", n, err)
				}
			}
			if _, err := s.Images.Find(t.Context(), "example.test/other@"+root.Digest.String()); !errors.Is(err,
				images.ErrNoImage) {
				t.Errorf("a digest of another repository: %v", err)
			}
		})
	}
}

func TestLayersThatAreThereAreNotFetched(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	a, b, c := gzipLayer("a"), gzipLayer("b"), gzipLayer("c")
	count := func(layers ...layerBlob) (blobs int) {
		t.Helper()
		src := newOrigin()
		if _, err := s.Pull.Copy(t.Context(), src, src.image(layers...), copyOptions("")); err != nil {
			t.Fatal(err)
		}
		return len(src.fetched) - 2 // manifest and config
	}
	if n := count(a, b); n != 2 {
		t.Errorf("first image: %d layers were fetched, not 2", n)
	}
	if n := count(a, b); n != 0 {
		t.Errorf("the same image: %d layers were fetched, not 0", n)
	}
	if n := count(a, b, c); n != 1 {
		t.Errorf("an image on top: %d layers were fetched, not 1", n)
	}
	if n := count(c, b); n != 0 {
		t.Errorf("the same layers in another order: %d were fetched, not 0", n)
	}
	again := a
	again.blob = append(zipped(nil), a.blob...) // other bytes that unpack to the same
	if n := count(again, c); n != 0 {
		t.Errorf("a layer compressed anew: %d were fetched, not 0", n)
	}
}

func TestWhatASourceLiesAboutLeavesTheStoreAsItWas(t *testing.T) {
	good := gzipLayer("good")
	for name, c := range map[string]struct {
		// spoil makes the layer above the good one.
		spoil func(src *origin) layerBlob
		after func(src *origin, l layerBlob)
		want  string
	}{
		"other content": {spoil: func(*origin) layerBlob { return layerBlob{[]byte("x"), gzipLayer("y").blob} },
			want: "the image's config says"},
		"no archive": {spoil: func(*origin) layerBlob {
			l := []byte(strings.Repeat("no tar ", 1000))
			return layerBlob{l,
				zipped(l)}
		}, want: "read its archive"},
		"cut archive": {spoil: func(*origin) layerBlob {
			l := tarOf(tar.Header{Name: "a"})[:515]
			return layerBlob{l, zipped(l)}
		}, want: "read its archive"},
		"cut gzip": {spoil: func(
			*origin) layerBlob {
			l := gzipLayer("a")
			l.blob = l.blob[:len(l.blob)-9]
			return l
		}, want: "layer 2 of 2"},
		"garbage after gzip": {spoil: func(*origin) layerBlob {
			l := gzipLayer("a")
			l.blob = append(l.blob,
				"garbage"...)
			return l
		}, want: "layer 2 of 2"},
		"xz": {spoil: func(*origin) layerBlob { return layerBlob{nil, []byte("\xfd7zXZ\x00rest")} },
			want: "xz"},
		"missing": {spoil: func(*origin) layerBlob { return gzipLayer("a") },
			after: func(src *origin, l layerBlob) { delete(src.content, digest.FromBytes(l.blob)) }, want: "is missing"},
		"other bytes": {spoil: func(*origin) layerBlob { return gzipLayer("a") }, after: func(src *origin, l layerBlob) {
			src.content[digest.FromBytes(l.blob)] = bytes.Repeat([]byte("x"), len(l.blob))
		}, want: "layer 2 of 2"},
		"more bytes": {spoil: func(*origin) layerBlob { return gzipLayer("a") }, after: func(src *origin, l layerBlob) {
			src.content[digest.FromBytes(l.blob)] = append(bytes.Clone(l.blob), 0)
		}, want: "it has more"},
		"dots": {spoil: func(*origin) layerBlob { return gzipLayer("../../../../../../../tmp/evil") },
			want: "outside of the image"},
		"hidden dots": {spoil: func(*origin) layerBlob { return gzipLayer("a/../../evil") }, want: "outside of the image"},
		"link and file": {spoil: func(*origin) layerBlob {
			l := tarOf(tar.Header{Name: "h", Linkname: "../../../../../../../../etc/passwd", Typeflag: tar.TypeLink})
			return layerBlob{l, zipped(l)}
		}, want: "layer 2 of 2"},
		"negative UID": {spoil: func(*origin) layerBlob {
			l := tarOf(tar.Header{Name: "a", Uid: -1, Format: tar.FormatGNU})
			return layerBlob{l, zipped(l)}
		}, want: "UID -1"},
	} {
		t.Run(name, func(t *testing.T) {
			drivers := []string{"overlay"}
			if name == "other content" || name == "link and file" {
				drivers = append(drivers, "vfs") // it unpacks under the store's lock
			}
			for _, driver := range drivers {
				root := t.TempDir()
				s := storetest.Open(t, store.Options{Driver: driver, Root: root})
				src := newOrigin()
				bad := c.spoil(src)
				image := src.image(good, bad)
				if c.after != nil {
					c.after(src, bad)
				}
				_, err := s.Pull.Copy(t.Context(), src, image, copyOptions("example.test/app:1"))
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: error %v, want one with %q", driver, err, c.want)
				}
				if all := left(t, root); len(all) > 0 {
					t.Errorf("%s: left behind: %v", driver, all)
				}
				if _, err := s.Pull.Copy(t.Context(), src, src.image(good), copyOptions("example.test/app:1")); err != nil {
					t.Errorf("%s: a good image after that: %v", driver, err)
				}
			}
		})
	}
}

func TestTheFirstErrorIsTheOneThatIsTold(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	src := newOrigin()
	var layers []layerBlob
	for i := range 20 {
		layers = append(layers, gzipLayer(fmt.Sprint(i)))
	}
	image := src.image(layers...)
	bad := digest.FromBytes(layers[3].blob)
	failed := make(chan struct{})
	src.before = func(d ocispec.Descriptor) error {
		switch d.Digest {
		case bad:
			defer close(failed)
			return errors.New("the disk of the registry is gone")
		case digest.FromBytes(layers[0].blob):
			<-failed
		}
		return nil
	}
	_, err := s.Pull.Copy(t.Context(), src, image, copyOptions(""))
	if err == nil || err.Error() != "layer 4 of 20: the disk of the registry is gone" {
		t.Errorf("error %v", err)
	}
}

func TestCancellingACopyLeavesTheStoreAsItWas(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "overlay", Root: root})
	src := newOrigin()
	a, b := gzipLayer("a"), gzipLayer("b")
	image := src.image(a, b)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	src.before = func(d ocispec.Descriptor) error {
		if d.Digest == digest.FromBytes(b.blob) {
			cancel(why)
		}
		return nil
	}
	if _, err := s.Pull.Copy(ctx, src, image, copyOptions("")); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	if all := left(t, root); len(all) > 0 {
		t.Errorf("left behind: %v", all)
	}
}

// TestManyCopiesAtOnce has images of the same layers copied at once, some of which fail and take their layers away.
func TestManyCopiesAtOnce(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "overlay", Root: root})
	var layers []layerBlob
	for i := range 6 {
		layers = append(layers, gzipLayer(fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			src := newOrigin()
			if i%2 == 1 {
				bad := layerBlob{[]byte("x"), gzipLayer("y").blob}
				if _, err := s.Pull.Copy(t.Context(), src, src.image(append(layers[:len(layers):len(layers)], bad)...),
					copyOptions("")); err == nil {
					t.Error("a bad image was taken")
				}
				return
			}
			img, err := s.Pull.Copy(t.Context(), src, src.image(layers...), copyOptions(fmt.Sprint("example.test/app:", i)))
			if err != nil {
				t.Errorf("copy %d: %v", i, err)
			} else if len(img.Layers) != len(layers) {
				t.Errorf("copy %d: %d layers", i, len(img.Layers))
			}
		})
	}
	wg.Wait()
	if all := left(t, root); len(all) != len(layers)+1 {
		t.Errorf("left in the store: %v", all)
	}
}

func TestAnImageThatWasBuiltHereIsNotFetched(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	built, res := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "a"), "one") })
	rc, err := s.Store.LayerTar(built)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(rc)
	if err = errors.Join(err, rc.Close()); err != nil {
		t.Fatal(err)
	}
	src := newOrigin()
	image := src.image(layerBlob{text, zipped(text)})
	var m ocispec.Manifest
	if err := json.Unmarshal(src.content[image.Digest], &m); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Images.Put(t.Context(), images.Record{Config: src.content[m.Config.Digest],
		Layers: []store.Layer{built},
		Names:  []string{"localhost/app:1"}}); err != nil {
		t.Fatal(err)
	}
	img, err := s.Pull.Copy(t.Context(), src, image, copyOptions("example.test/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(src.fetched) != 2 || img.Layers[0].ID != built.ID || img.Layers[0].DiffID != res.DiffID {
		t.Errorf("fetched %v, layers %v", src.fetched, img.Layers)
	}
	for _, name := range []string{"app:1", "example.test/app:1", "example.test/app@" + image.Digest.String()} {
		if found, err := s.Images.Find(t.Context(), name); err != nil || found.ID != img.ID {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLayersThatWouldNotBeWhatTheySayAreRefused(t *testing.T) {
	xattr := func(name string) map[string]string { return map[string]string{"SCHILY.xattr." + name: "y"} }
	for name, c := range map[string]struct {
		member tar.Header
		want   string // "": it is taken
	}{
		"user ID that is none":  {tar.Header{Name: "f", Uid: 1<<32 - 1}, `"f" of UID 4294967295`},
		"group ID that is none": {tar.Header{Name: "f", Gid: 1<<32 - 1}, `"f" of UID 0 and GID 4294967295`},
		"redirect": {tar.Header{Name: "d/", PAXRecords: xattr("user.overlay.redirect")},
			`"d/" with the attribute user.overlay.redirect`},
		"root's opaque mark": {tar.Header{Name: "d/", PAXRecords: xattr("trusted.overlay.opaque")},
			"trusted.overlay.opaque"},
		"one that may come later":  {tar.Header{Name: "f", PAXRecords: xattr("user.overlay.later")}, "user.overlay.later"},
		"device":                   {tar.Header{Name: "f", Typeflag: tar.TypeChar}, `"f" that is a device 0:0`},
		"where a file came from":   {tar.Header{Name: "f", PAXRecords: xattr("user.overlay.origin")}, ""},
		"an attribute like others": {tar.Header{Name: "f", PAXRecords: xattr("user.overlayed")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root, o := t.TempDir(), newOrigin()
			text := tarOf(tar.Header{Name: "below"}, c.member)
			s := storetest.Open(t, store.Options{Root: root, Driver: "overlay"})
			_, err := s.Pull.Copy(t.Context(), o, o.image(layerBlob{text, zipped(text)}), copyOptions(""))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestHowFarALayerHasComeIsTold at its end in any case, and not for one that never came whole.
func TestHowFarALayerHasComeIsTold(t *testing.T) {
	d, src := storetest.Open(t, store.Options{Driver: "overlay"}), newOrigin()
	good := gzipLayer("a")
	o := copyOptions("example.test/app:1")
	var mu sync.Mutex
	told := map[string]int64{}
	o.Progress = func(what string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if told[what] = done; total != int64(len(good.blob)) {
			t.Errorf("%s: %d of %d", what, done, total)
		}
	}
	if _, err := d.Pull.Copy(t.Context(), src, src.image(good), o); err != nil {
		t.Fatal(err)
	}
	what := "example.test/app:1 " + digest.FromBytes(good.blob).Encoded()[:12]
	if told[what] != int64(len(good.blob)) || len(told) != 1 {
		t.Errorf("told %v, want all of %s", told, what)
	}
}
