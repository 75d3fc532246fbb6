package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

const (
	// maxThreads is how many threads compress at a time, at most. It bounds memory on big machines: a thread of gzip needs
	// about 5 MiB, including memory that the garbage collector hasn't freed yet, and one of zstd 15 MiB.
	maxThreads     = 8
	maxZstdThreads = 3
	// smallLayer is the size in bytes up to which a layer in gzip is compressed on one thread beside others.
	smallLayer = 16 * gzipBlock
)

// form is the form that an image is written in: a layout directory or an archive.
type form interface {
	// spool makes an empty file for add to take, on the file system where the image is going to be. It may be called from
	// several goroutines.
	spool() (*os.File, error)
	// add takes the blob and closes its file.
	add(ctx context.Context, b blob) error
	// has gives a blob that the destination has already as a file for add to take; nil: it has none. take makes a file for
	// add of one that somebody else may hold, too. Both may be called from several goroutines.
	has(d ocispec.Descriptor) *os.File
	take(ctx context.Context, f *os.File) (*os.File, error)
	// commit adds the index and makes everything visible.
	commit(ctx context.Context, c contents) error
	// abort closes all files and removes those that were written; after a successful commit it does nothing.
	abort()
}

// contents say what is in a destination.
type contents struct {
	// entries are those of the index.
	entries []ocispec.Descriptor
	// docker is what "docker load" starts from; nil: nothing is.
	docker []byte
}

// blob is the content of a descriptor: exactly one of file, data and layer is set.
type blob struct {
	ocispec.Descriptor
	// file was made by spool.
	file *os.File
	data []byte
	// layer is an uncompressed layer that has not been read yet; the form checks it.
	layer *Blob
}

// Write writes the image as spec says. stdout is where it goes if spec.Dest is Stdout; else it may be nil. After an
// error, a cancelled ctx included, nothing is left behind, but for what has already gone to stdout. ErrDigest says that
// a layer isn't what its DiffID promises; syscall.ENOSPC is in the chain if the disk is full.
func Write(ctx context.Context, spec Spec, image Image, stdout io.Writer) (Result, error) {
	image.Annotations = mergeMaps(image.Annotations, spec.Annotations.Manifest(image.Platform))
	if len(spec.Names) > 0 {
		image.Names = spec.Names
	}
	image.Text = nil
	all, err := WriteAll(ctx, spec, []Image{image}, stdout)
	if err != nil {
		return Result{}, err
	}
	return all[0], nil
}

// WriteAll writes several images into one layout or archive, each under its own names; blobs that several of them have
// are written once. A directory for skopeo's dir: has room for one. Otherwise it does what Write does, but for
// spec.Names.
func WriteAll(ctx context.Context, spec Spec, images []Image, stdout io.Writer) ([]Result, error) {
	names, err := prepare(spec, images)
	if err != nil {
		return nil, fmt.Errorf("export image: %w", err)
	}
	t, err := open(ctx, spec, images[0], stdout)
	if err != nil {
		return nil, fmt.Errorf("export image: %w", err)
	}
	defer t.abort()
	all, err := writeAll(ctx, t, spec, images, names)
	if err != nil {
		return nil, fmt.Errorf("export image to %s: %w", spec.Dest, err)
	}
	return all, nil
}

// prepare refuses images that can't be written, before any work is done, and gives their names.
func prepare(spec Spec, images []Image) (names [][]imageName, err error) {
	switch {
	case len(images) == 0:
		return nil, errors.New("there is no image")
	case len(images) > 1 && spec.Type == TypeDir:
		return nil, errors.New("a directory of skopeo's kind has room for one image")
	}
	if err := spec.Check(); err != nil {
		return nil, err
	}
	for _, image := range images {
		given, err := parseNames(image.Names)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(image.Check(), spec.Annotations.Check([]ocispec.Platform{image.Platform})); err != nil {
			return nil, err
		}
		names = append(names, given)
	}
	return names, nil
}

func writeAll(ctx context.Context, t form, spec Spec, images []Image, names [][]imageName) ([]Result, error) {
	var (
		w   = newWriter(t, spec)
		c   contents
		all []Result
		err error
	)
	for i, image := range images {
		result, err := w.write(ctx, image)
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		entry := result.Manifest
		entry.Annotations = spec.Annotations.ManifestDescriptor(image.Platform)
		c.entries = append(c.entries, indexEntries(entry, image.Platform, names[i])...)
		for _, n := range names[i] {
			result.Names = append(result.Names, n.full)
		}
		all = append(all, result)
	}
	if spec.Type == TypeDocker {
		if c.docker, err = dockerManifest(all); err != nil {
			return nil, err
		}
	}
	return all, t.commit(ctx, c)
}

func open(ctx context.Context, spec Spec, image Image, stdout io.Writer) (form, error) {
	switch {
	case spec.Type == TypeDir:
		return openBlobDir(spec.Dest)
	case spec.Directory:
		return openLayout(spec.Dest)
	}
	return openArchive(ctx, archiveOptions{dest: spec.Dest, stdout: stdout, time: image.Created})
}

// writer writes images in a form, each blob once.
type writer struct {
	form   form
	codec  Codec
	format imagebuilder.Format
	// layers are the layers that were written, by diffID; others has the digests of all other blobs that were.
	layers map[digest.Digest]ocispec.Descriptor
	others map[digest.Digest]bool
}

func newWriter(t form, spec Spec) writer {
	return writer{t, Codec{spec.compression(), spec.Level}, spec.format(), map[digest.Digest]ocispec.Descriptor{},
		map[digest.Digest]bool{}}
}

// data adds a blob that is in memory.
func (w writer) data(ctx context.Context, d ocispec.Descriptor, text []byte) error {
	if w.others[d.Digest] {
		return nil
	}
	w.others[d.Digest] = true
	return w.form.add(ctx, blob{Descriptor: d, data: text})
}

// write adds all of the image's blobs.
func (w writer) write(ctx context.Context, image Image) (Result, error) {
	var todo []Blob
	for _, l := range image.Layers {
		if _, there := w.layers[l.DiffID]; !there {
			w.layers[l.DiffID] = ocispec.Descriptor{MediaType: w.codec.MediaType(), Digest: l.DiffID, Size: l.Size}
			todo = append(todo, l)
		}
	}
	packed, err := packer{form: w.form, codec: w.codec, keeper: image.Keeper}.addLayers(ctx, todo)
	if err != nil {
		return Result{}, err
	}

	for i, l := range todo {
		w.layers[l.DiffID] = packed[i]
	}
	layers := make([]ocispec.Descriptor, 0, len(image.Layers))
	for _, l := range image.Layers {
		layers = append(layers, w.layers[l.DiffID])
	}

	if image, err = image.As(layers); err != nil {
		return Result{}, err
	}
	manifest, had := image.kept(layers)
	text := image.Text
	if !had {
		if manifest, text, err = image.Manifest(layers, w.format); err != nil {
			return Result{}, err
		}
	}

	config := image.ConfigDescriptor(w.format)
	if err := w.data(ctx, config, image.Config); err != nil {
		return Result{}, err
	}
	if err := w.data(ctx, manifest, text); err != nil {
		return Result{}, err
	}

	return Result{Manifest: manifest, ImageID: config.Digest, Layers: layers}, nil
}

func mergeMaps(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}
