package export

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// layerTar makes a layer with one file of size bytes, half of them random.
func layerTar(t testing.TB, name string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	random := rand.NewChaCha8(sha256.Sum256([]byte(name)))
	_, _ = random.Read(data[:size/2])
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(size), Mode: 0o644,
		ModTime: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func blobOf(data []byte) Blob {
	return Blob{
		DiffID: digest.FromBytes(data),
		Size:   int64(len(data)),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

func imageOf(t testing.TB, layers ...Blob) Image {
	t.Helper()
	platform := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	created := time.Unix(1700000000, 5).UTC()
	config := ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
		Created: &created}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		config.History = append(config.History, ocispec.History{CreatedBy: "test"})
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return Image{Config: text, Layers: layers, Platform: platform, Names: []string{"localhost/app:v1"}, Created: created}
}

// sampleImage has an empty layer, small ones, a large one, and one twice.
func sampleImage(t testing.TB) Image {
	t.Helper()
	empty := blobOf(make([]byte, 1024))
	return imageOf(t, empty, blobOf(layerTar(t, "a", 1000)), blobOf(layerTar(t, "b", 5<<20)),
		blobOf(layerTar(t, "c", 70000)), empty)
}

func write(t testing.TB, spec Spec, image Image) Result {
	t.Helper()
	result, err := Write(context.Background(), spec, image, nil)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// run runs a program that must be there and succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// untar reads an archive into files, and checks that its members are in a fixed order with fixed attributes.
func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Nanosecond() != 0 || h.Format != tar.FormatUSTAR {
			t.Errorf("%s: uid %d, gid %d, time %v, format %v", h.Name, h.Uid, h.Gid, h.ModTime, h.Format)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// readDir reads a directory tree into files.
func readDir(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func indexOf(t *testing.T, files map[string][]byte) ocispec.Index {
	t.Helper()
	var index ocispec.Index
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	return index
}

// checkLayout follows a descriptor through the layout and compares all that it finds with the image.
func checkLayout(t *testing.T, files map[string][]byte, d ocispec.Descriptor, image Image) {
	t.Helper()
	if want := `{"imageLayoutVersion":"1.0.0"}`; string(files["oci-layout"]) != want {
		t.Errorf("oci-layout is %s", files["oci-layout"])
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(checkedBlob(t, files, d), &manifest); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(checkedBlob(t, files, manifest.Config), image.Config) {
		t.Error("config has changed")
	}
	if len(manifest.Layers) != len(image.Layers) {
		t.Fatalf("%d layers instead of %d", len(manifest.Layers), len(image.Layers))
	}
	for i, l := range manifest.Layers {
		var r io.Reader = bytes.NewReader(checkedBlob(t, files, l))
		var err error
		switch l.MediaType {
		case ocispec.MediaTypeImageLayerGzip, imagebuilder.Docker.Layer(ocispec.MediaTypeImageLayerGzip):
			r, err = gzip.NewReader(r)
		case ocispec.MediaTypeImageLayerZstd:
			r, err = zstd.NewReader(r)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := digest.FromReader(r); err != nil || got != image.Layers[i].DiffID {
			t.Errorf("layer %d unpacks to %s, %v; want %s", i, got, err, image.Layers[i].DiffID)
		}
	}
}

func checkedBlob(t *testing.T, files map[string][]byte, d ocispec.Descriptor) []byte {
	t.Helper()
	data, ok := files[blobPath(d)]
	if !ok || int64(len(data)) != d.Size || digest.FromBytes(data) != d.Digest {
		t.Fatalf("blob %s: there is %v, %d bytes of %d", d.Digest, ok, len(data), d.Size)
	}
	return data
}

// names lists a directory, hidden files included.
func names(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(out)
}

func repeat(data []byte, n int) Blob {
	open := func() (io.ReadCloser, error) {
		readers := make([]io.Reader, n)
		for i := range readers {
			readers[i] = bytes.NewReader(data)
		}
		return io.NopCloser(io.MultiReader(readers...)), nil
	}
	r, _ := open()
	d, _ := digest.FromReader(r)
	return Blob{DiffID: d, Size: int64(n * len(data)), Open: open}
}
