package pull_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage/pkg/chunked/compressor"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/partial"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// parted is a source that gives parts of blobs.
type parted struct {
	*origin
	// bytes is how many the parts had.
	bytes atomic.Int64
	// change changes a part before it is given; nil: none is.
	change func(offset int64, text []byte) ([]byte, error)
}

var _ partial.Source = (*parted)(nil)

func (p *parted) FetchPart(_ context.Context, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	text := bytes.Clone(p.content[d.Digest][offset : offset+length])
	p.bytes.Add(length)
	if p.change != nil {
		var err error
		if text, err = p.change(offset, text); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// chunkedFiles is a layer of many files; those that other names have other data.
func chunkedFiles(t *testing.T, other ...int) []byte {
	t.Helper()
	seeds := map[int]byte{}
	for _, n := range other {
		seeds[n] = 1
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for n := range 40 {
		source := rand.NewChaCha8([32]byte{byte(n), seeds[n]})
		text := make([]byte, 4_000+n*n*60)
		_, _ = source.Read(text) // it never fails
		err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d/file-%02d", n), Mode: 0o644, Size: int64(len(text)),
			PAXRecords: map[string]string{"SCHILY.xattr.user.n": fmt.Sprint(n)}})
		if _, writeErr := w.Write(text); errors.Join(err, writeErr) != nil {
			t.Fatal(err, writeErr)
		}
	}
	for _, h := range []tar.Header{{Name: "d/empty", Mode: 0o600}, {Name: "d/hard", Linkname: "d/file-01",
		Typeflag: tar.TypeLink}, {Name: "d/soft", Linkname: "x", Typeflag: tar.TypeSymlink}} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// chunkedImage puts an image of one layer together that is compressed as zstd:chunked; change changes the descriptor.
func (o *origin) chunkedImage(t *testing.T, text []byte, change func(*ocispec.Descriptor)) (root,
	layer ocispec.Descriptor) {
	t.Helper()
	var b bytes.Buffer
	notes := map[string]string{}
	level := 1 // without one it is the best, of an encoder that takes memory and time for each of these small files
	z, err := compressor.ZstdCompressor(&b, notes, &level)
	if err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(text)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	layer = o.put(ocispec.MediaTypeImageLayerZstd, b.Bytes())
	layer.Annotations = notes
	if change != nil {
		change(&layer)
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{layer}}
	m.SchemaVersion = 2
	m.Config = o.put(ocispec.MediaTypeImageConfig, encode(map[string]any{
		"os": "linux", "architecture": "amd64",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(text)}},
	}))
	return o.put(m.MediaType, encode(m)), layer
}

func TestOnlyWhatTheStoreLacksIsFetched(t *testing.T) {
	t.Parallel()
	const table = "io.github.containers.zstd-chunked.manifest-position"
	note := func(key, value string) func(*ocispec.Descriptor) {
		return func(d *ocispec.Descriptor) { d.Annotations[key] = value }
	}
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		// name is that of the second image.
		name   string
		other  []int
		note   func(*ocispec.Descriptor)
		change func(offset int64, text []byte) ([]byte, error)
		whole  bool
		keep   func(context.Context, ocispec.Descriptor, *os.File)
	}{
		"a file and its neighbour": {other: []int{20, 21}},
		"the first and the last":   {other: []int{0, 39}},
		"blobs are kept": {other: []int{7}, whole: true,
			keep: func(context.Context, ocispec.Descriptor, *os.File) {}},
		"another tag":        {name: "example.test/b:v2", other: []int{7}},
		"another repository": {name: "example.test/c:v1", other: []int{7}, whole: true},
		"most files": {other: []int{22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39},
			whole: true},
		"no table": {other: []int{7}, whole: true,
			note: func(d *ocispec.Descriptor) { d.Annotations = nil }},
		"a table that is elsewhere":  {other: []int{7}, note: note(table, "1:100:200:1"), whole: true},
		"a table beyond the end":     {other: []int{7}, note: note(table, "9223372036854775807:100:200:1"), whole: true},
		"a table without length":     {other: []int{7}, note: note(table, "100:0:0:1"), whole: true},
		"another kind of table":      {other: []int{7}, note: note(table, "100:100:200:2"), whole: true},
		"a table that isn't numbers": {other: []int{7}, note: note(table, "a:-1:c:d"), whole: true},
		"no parts": {other: []int{7}, change: func(int64, []byte) ([]byte, error) { return nil, broken },
			whole: true},
		"parts that are too short": {other: []int{7},
			change: func(_ int64, text []byte) ([]byte, error) { return text[:len(text)/2], nil }, whole: true},
		"wrong bytes in a file": {other: []int{7}, change: func(offset int64, text []byte) ([]byte, error) {
			if offset < 300_000 {
				text[len(text)/2] ^= 1
			}
			return text, nil
		}, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := storetest.Open(t, store.Options{Driver: "overlay"})
			src := &parted{origin: newOrigin(), change: c.change}
			first, _ := src.chunkedImage(t, chunkedFiles(t), nil)
			if _, err := d.Pull.Copy(t.Context(), src, first, copyOptions("example.test/b:v1")); err != nil {
				t.Fatal(err)
			}
			if src.bytes.Load() > 0 {
				t.Error("parts were fetched into an empty store")
			}
			text := chunkedFiles(t, c.other...)
			second, blob := src.chunkedImage(t, text, c.note)
			o := copyOptions(cmp.Or(c.name, "example.test/b:v1"))
			o.Keep = c.keep
			_, err := d.Pull.Copy(t.Context(), src, second, o)
			if err != nil {
				t.Fatal(err)
			}
			whole := false
			for _, fetched := range src.fetched {
				whole = whole || fetched == blob.Digest
			}
			if whole != c.whole {
				t.Errorf("the blob was fetched whole: %v; of its parts %d of %d bytes", whole, src.bytes.Load(), blob.Size)
			}
			if !c.whole && src.bytes.Load() > blob.Size/3 {
				t.Errorf("%d of %d bytes were fetched", src.bytes.Load(), blob.Size)
			}
			l, err := d.Store.Layer(store.LayerID("", digest.FromBytes(text)))
			if err != nil {
				t.Fatal(err)
			}
			archive, err := d.Store.LayerTar(l)
			if err != nil {
				t.Fatal(err)
			}
			got, err := digest.FromReader(archive)
			if err = errors.Join(err, archive.Close()); err != nil || got != digest.FromBytes(text) {
				t.Errorf("the layer's archive is %s, %v, not %s", got, err, digest.FromBytes(text))
			}
		})
	}
}
