package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
)

// Images of a registry that bench makes.
const (
	imageLarge = "large" // 16 layers of gzip, of files of all sizes
	imageSmall = "small" // the same with many small files
	imageZstd  = "zstd"  // imageLarge in zstd
	// imageBusybox has nothing but busybox. The two of one repository have one layer more, in zstd:chunked; in that of the
	// new one, one file in changedOneIn is another.
	imageBusybox    = "busybox"
	imageChunkedOld = "chunked:old"
	imageChunkedNew = "chunked:new"
)

const (
	// imageLayers is how many layers an image has besides the first, which has busybox.
	imageLayers = 16
	// layerBytes is about how many bytes of files a layer has.
	layerBytes = 64 << 20
	// smallFiles is how many files imageSmall has in all.
	smallFiles = 60_000
	// chunkedFiles is how many files the layer in zstd:chunked has, each of chunkedFileBytes.
	chunkedFiles     = 1600
	chunkedFileBytes = 64 << 10
	// changedOneIn is what part of a layer's files changes with an update.
	changedOneIn = 20
	// filesInDir is how many files one directory has.
	filesInDir = 100
)

// contents gives bytes as files of images have them: text and programs, which gzip makes two and a half times smaller.
type contents struct {
	random *rand.Rand
	words  [][]byte
}

func newContents(seed byte) *contents {
	c := &contents{random: rand.New(rand.NewChaCha8([32]byte{seed}))} //nolint:gosec // the same bytes each time
	for range 1 << 12 {
		word := make([]byte, 4+c.random.IntN(12))
		for i := range len(word) - 1 {
			word[i] = byte('a' + c.random.IntN(26))
		}
		word[len(word)-1] = ' '
		c.words = append(c.words, word)
	}
	return c
}

// appendFile appends a file of n bytes: an eighth is noise, the rest words, of which few are frequent.
func (c *contents) appendFile(to []byte, n int) []byte {
	const piece, rare = 2048, 9
	for end := len(to) + n; len(to) < end; {
		stop := min(len(to)+piece, end)
		if c.random.IntN(8) == 0 {
			for len(to) < stop {
				to = append(to, byte(c.random.Uint32()))
			}
			continue
		}
		for len(to) < stop {
			x := math.Pow(c.random.Float64(), rare)
			to = append(to, c.words[int(x*float64(len(c.words)))]...)
		}
		to = to[:stop]
	}
	return to
}

// sizes gives the sizes of the files of one layer.
func (c *contents) sizes(kind string) []int {
	if isChunked(kind) {
		return slices.Repeat([]int{chunkedFileBytes}, chunkedFiles)
	}
	var all []int
	if kind == imageSmall {
		for range smallFiles / imageLayers {
			all = append(all, c.random.IntN(2*layerBytes*imageLayers/smallFiles))
		}
		return all
	}
	for left := layerBytes; left > 0; {
		n := min(left, 1<<(8+c.random.IntN(15))) // from 256 B to 4 MiB
		all, left = append(all, n), left-n
	}
	return all
}

// writeLayer writes the n-th layer's archive.
func writeLayer(w io.Writer, kind string, n int) error {
	c := newContents(byte(n))
	archive := tar.NewWriter(w)
	when := time.Unix(1_700_000_000, 0)
	var text []byte
	for i, size := range c.sizes(kind) {
		dir := fmt.Sprintf("layer-%02d/dir-%03d/", n, i/filesInDir)
		if i%filesInDir == 0 {
			h := &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: when}
			if err := archive.WriteHeader(h); err != nil {
				return err
			}
		}
		text = c.appendFile(text[:0], size)
		if kind == imageChunkedNew && i%changedOneIn == 0 {
			slices.Reverse(text)
		}
		h := &tar.Header{Name: fmt.Sprintf("%sfile-%05d", dir, i), Mode: 0o644, ModTime: when, Size: int64(size)}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if _, err := archive.Write(text); err != nil {
			return err
		}
	}
	return archive.Close()
}

// writeBusybox writes the archive of a root file system that has busybox and a shell.
func writeBusybox(w io.Writer, busybox string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755},
		{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))},
		{Typeflag: tar.TypeSymlink, Name: "bin/sh", Linkname: "busybox", Mode: 0o777},
		{Typeflag: tar.TypeSymlink, Name: "bin/true", Linkname: "busybox", Mode: 0o777},
	} {
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if h.Size > 0 {
			if _, err := archive.Write(program); err != nil {
				return err
			}
		}
	}
	return archive.Close()
}

// packer opens the compression of an image.
func packer(kind string, w io.Writer) (io.WriteCloser, string, error) {
	if kind == imageZstd {
		z, err := zstd.NewWriter(w)
		return z, ocispec.MediaTypeImageLayerZstd, err
	}
	z, err := pgzip.NewWriterLevel(w, gzip.DefaultCompression)
	return z, ocispec.MediaTypeImageLayerGzip, err
}

// blobStore is a directory of blobs, by their digests without the algorithm.
type blobStore struct{ dir string }

// put writes a blob and describes it.
func (b blobStore) put(mediaType string, write func(w io.Writer) error) (d ocispec.Descriptor, err error) {
	f, err := os.CreateTemp(b.dir, "new-")
	if err != nil {
		return d, err
	}
	hash := digest.Canonical.Digester()
	err = write(io.MultiWriter(f, hash.Hash()))
	info, statErr := f.Stat()
	if err := errors.Join(err, statErr, f.Close()); err != nil {
		return d, err
	}
	d = ocispec.Descriptor{MediaType: mediaType, Digest: hash.Digest(), Size: info.Size()}
	return d, errors.Join(os.Chmod(f.Name(), 0o644), os.Rename(f.Name(), filepath.Join(b.dir, d.Digest.Encoded())))
}

// layer writes a layer, compressed, and gives its diff ID as well.
func (b blobStore) layer(kind string, write func(w io.Writer) error) (d ocispec.Descriptor, diffID digest.Digest,
	err error) {
	hash := digest.Canonical.Digester()
	var mediaType string
	d, err = b.put("", func(w io.Writer) error {
		z, m, err := packer(kind, w)
		if err != nil {
			return err
		}
		mediaType = m
		return errors.Join(write(io.MultiWriter(z, hash.Hash())), z.Close())
	})
	d.MediaType = mediaType
	return d, hash.Digest(), err
}

func isChunked(kind string) bool { return kind == imageChunkedOld || kind == imageChunkedNew }

// chunkedLayer is layer in zstd:chunked, by the codec that cooper pushes with.
func (b blobStore) chunkedLayer(write func(w io.Writer) error) (d ocispec.Descriptor, diffID digest.Digest, err error) {
	var stream bytes.Buffer
	if err := write(&stream); err != nil {
		return d, "", err
	}
	diffID = digest.FromBytes(stream.Bytes())
	layer := export.Blob{DiffID: diffID, Size: int64(stream.Len()), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(&stream), nil
	}}
	var packed ocispec.Descriptor
	d, err = b.put("", func(w io.Writer) (err error) {
		packed, err = export.Codec{Kind: export.ZstdChunked}.Pack(context.Background(), layer, w, 1)
		return err
	})
	d.MediaType, d.Annotations = packed.MediaType, packed.Annotations
	return d, diffID, err
}

// makeImage makes an image in a directory of blobs and writes its manifest's descriptor to standard output.
func makeImage(kind, busybox, dir string) error {
	d, err := blobStore{dir}.image(kind, busybox)
	if err != nil {
		return err
	}
	return encode(d)(os.Stdout)
}

// image makes an image and returns its manifest's descriptor.
func (b blobStore) image(kind, busybox string) (ocispec.Descriptor, error) {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	config := ocispec.Image{Platform: thisPlatform(), RootFS: ocispec.RootFS{Type: "layers"}}
	layers, pack := imageLayers, func(write func(w io.Writer) error) (ocispec.Descriptor, digest.Digest, error) {
		return b.layer(kind, write)
	}
	switch {
	case kind == imageBusybox:
		layers = 0
	case isChunked(kind):
		layers, pack = 1, b.chunkedLayer
	}
	for n := range layers + 1 {
		d, id, err := pack(func(w io.Writer) error {
			if n == 0 {
				return writeBusybox(w, busybox)
			}
			return writeLayer(w, kind, n)
		})
		if err != nil {
			return d, fmt.Errorf("make layer %d of the image %s: %w", n, kind, err)
		}
		m.Layers, config.RootFS.DiffIDs = append(m.Layers, d), append(config.RootFS.DiffIDs, id)
	}
	var err error
	if m.Config, err = b.put(ocispec.MediaTypeImageConfig, encode(config)); err != nil {
		return m.Config, fmt.Errorf("make the config of the image %s: %w", kind, err)
	}
	return b.put(m.MediaType, encode(m))
}

// encode gives a function that writes a value as JSON.
func encode(v any) func(io.Writer) error {
	return func(w io.Writer) error { return json.NewEncoder(w).Encode(v) }
}
