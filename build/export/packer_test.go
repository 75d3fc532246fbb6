package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shelf is a keeper of blobs by their digest, which notes what it is asked.
type shelf struct {
	t    *testing.T
	has  map[digest.Digest][]byte
	of   map[digest.Digest][]ocispec.Descriptor
	fail error

	mu     sync.Mutex
	opened []digest.Digest
	kept   []digest.Digest
}

func (s *shelf) Blobs(l Blob) []ocispec.Descriptor { return s.of[l.DiffID] }

func (s *shelf) Open(_ context.Context, d ocispec.Descriptor) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, d.Digest)
	data, ok := s.has[d.Digest]
	if !ok || s.fail != nil {
		return nil, s.fail
	}
	path := filepath.Join(s.t.TempDir(), "blob")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (s *shelf) Keep(_ context.Context, l Blob, d ocispec.Descriptor, f *os.File) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil || digest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
		s.t.Errorf("to be kept are %d bytes, %v, of %+v", len(data), err, d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, l.DiffID)
}

// cameAs is a layer that came as other bytes than it would be compressed to, and its blob.
func cameAs(t *testing.T, data []byte) (Blob, ocispec.Descriptor, []byte) {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		w.Comment = "of a registry"
		_, err = w.Write(data)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return blobOf(data), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip,
		Digest: digest.FromBytes(out.Bytes()), Size: int64(out.Len())}, out.Bytes()
}

func TestALayerLeavesAsTheBlobThatIsKept(t *testing.T) {
	base, d, data := cameAs(t, layerTar(t, "base", 3<<20))
	base.Open = func() (io.ReadCloser, error) { return nil, errors.New("nobody reads it") }
	own := blobOf(layerTar(t, "own", 1000))
	for name, spec := range map[string]Spec{
		"archive": {Type: TypeOCI}, "zstd": {Type: TypeOCI, Compression: Zstd},
		"uncompressed": {Type: TypeOCI, Compression: Uncompressed}, "layout": {Type: TypeOCI, Directory: true},
		"docker": {Type: TypeDocker},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shelf{t: t, has: map[digest.Digest][]byte{d.Digest: data},
				of: map[digest.Digest][]ocispec.Descriptor{base.DiffID: {d}}}
			spared := 0
			base := base
			base.Spared = func() { spared++ }
			image := imageOf(t, base, own, base)
			image.Keeper = s
			spec.Dest = filepath.Join(t.TempDir(), "out")
			result := write(t, spec, image)
			files := filesOf(t, spec)
			checkLayout(t, files, indexOf(t, files).Manifests[0], image)
			if result.Layers[0].Digest != d.Digest || result.Layers[2].Digest != d.Digest || spared != 1 {
				t.Errorf("it has %v, spared %d times", result.Layers, spared)
			}
			if own := slices.Contains(s.kept, own.DiffID); own == (spec.compression() == Uncompressed) || len(s.kept) > 1 {
				t.Errorf("kept are %v", s.kept)
			}
			if spec.Type != TypeDocker {
				return
			}
			var docker []struct{ Layers []string }
			if err := json.Unmarshal(files["manifest.json"], &docker); err != nil || len(docker) != 1 ||
				docker[0].Layers[0] != blobPath(d) || docker[0].Layers[1] != blobPath(result.Layers[1]) {
				t.Errorf("manifest.json is %s: %v", files["manifest.json"], err)
			}
		})
	}
}

func filesOf(t *testing.T, spec Spec) map[string][]byte {
	t.Helper()
	if spec.Directory {
		return readDir(t, spec.Dest)
	}
	data, err := os.ReadFile(spec.Dest)
	if err != nil {
		t.Fatal(err)
	}
	return untar(t, data)
}

func TestALayerWithoutABlobIsCompressedAsEver(t *testing.T) {
	base, d, data := cameAs(t, layerTar(t, "base", 3<<20))
	dir := t.TempDir()
	plain := Spec{Type: TypeOCI, Dest: filepath.Join(dir, "plain")}
	image := imageOf(t, base, blobOf(layerTar(t, "own", 1000)))
	want := write(t, plain, image)
	s := &shelf{t: t, of: map[digest.Digest][]ocispec.Descriptor{base.DiffID: {d}}}
	image.Keeper = s
	spec := Spec{Type: TypeOCI, Dest: filepath.Join(dir, "out")}
	if got := write(t, spec, image); got.Manifest.Digest != want.Manifest.Digest || len(s.kept) != 2 {
		t.Errorf("it is %v and not %v, kept %v", got, want, s.kept)
	}
	// The second best will do.
	s.of[base.DiffID] = []ocispec.Descriptor{{Digest: digest.FromString("gone")}, d}
	s.has = map[digest.Digest][]byte{d.Digest: data}
	if got := write(t, spec, image); got.Layers[0].Digest != d.Digest {
		t.Errorf("it is %v", got.Layers)
	}
	s.fail = errors.New("enough")
	if _, err := Write(t.Context(), spec, image, nil); !errors.Is(err, s.fail) {
		t.Errorf("the error is %v", err)
	}
	if left := names(t, dir); left != "[out plain]" {
		t.Errorf("there is %s", left)
	}
}

func TestALayoutThatHasABlobGetsNoCopy(t *testing.T) {
	base, d, data := cameAs(t, layerTar(t, "base", 3<<20))
	s := &shelf{t: t, has: map[digest.Digest][]byte{d.Digest: data},
		of: map[digest.Digest][]ocispec.Descriptor{base.DiffID: {d}}}
	spec := Spec{Type: TypeOCI, Directory: true, Dest: filepath.Join(t.TempDir(), "layout")}
	image := imageOf(t, base, blobOf(layerTar(t, "own", 1000)))
	image.Keeper = s
	write(t, spec, image)
	at := filepath.Join(spec.Dest, blobPath(d))
	before, err := os.Stat(at)
	if err != nil {
		t.Fatal(err)
	}
	s.has, s.opened = nil, nil
	other := imageOf(t, base, blobOf(layerTar(t, "other", 1000)))
	other.Keeper, other.Names = s, []string{"localhost/app:v2"}
	if got := write(t, spec, other); got.Layers[0].Digest != d.Digest || len(s.opened) != 0 {
		t.Errorf("it is %v, asked for %v", got.Layers, s.opened)
	}
	after, err := os.Stat(at)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the blob is another file: %v", err)
	}
	files := readDir(t, spec.Dest)
	for i, d := range indexOf(t, files).Manifests {
		checkLayout(t, files, d, []Image{image, other}[i])
	}
}
