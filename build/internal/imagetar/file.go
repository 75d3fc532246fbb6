package imagetar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
)

// File is a file or directory with images. It is safe for concurrent use after Images was called.
type File struct {
	name string
	// file is an archive, with its members; nil: dir is the directory.
	file    *os.File
	members map[string]member
	dir     *os.Root
	// made are texts that the file lacks, and at where other blobs are than in a layout, by their digests.
	made map[digest.Digest][]byte
	at   map[digest.Digest]string
}

var _ content.Fetcher = (*File)(nil)

// Open opens a file or directory. The caller closes it. Spool makes empty files, for what is compressed.
func Open(ctx context.Context, name string, spool func() (*os.File, error)) (*File, error) {
	f, err := openFile(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		return openDir(name, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return Read(ctx, name, f, spool)
}

func openDir(name string, f *os.File) (*File, error) {
	if err := f.Close(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return newFile(File{name: name, dir: root}), nil
}

// Read reads an archive from an open file, such as standard input, which it closes. The name is for errors.
func Read(ctx context.Context, name string, f *os.File, spool func() (*os.File, error)) (*File, error) {
	whole, err := plain(ctx, f, spool)
	if whole != f {
		err = errors.Join(err, f.Close())
	}
	var members map[string]member
	if err == nil {
		members, err = scan(ctx, whole)
	}
	if err != nil {
		if whole != nil {
			err = errors.Join(err, whole.Close())
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return newFile(File{name: name, file: whole, members: members}), nil
}

func newFile(f File) *File {
	f.made, f.at = map[digest.Digest][]byte{}, map[digest.Digest]string{}
	return &f
}

// Close closes the file.
func (f *File) Close() error {
	if f.file == nil {
		return f.dir.Close()
	}
	return f.file.Close()
}

// open opens a file by its name in the archive or directory, and gives its size in bytes.
func (f *File) open(name string) (io.ReadCloser, int64, error) {
	if f.file != nil {
		m, err := find(f.members, name)
		if err != nil {
			return nil, 0, err
		}
		return io.NopCloser(io.NewSectionReader(f.file, m.offset, m.size)), m.size, nil
	}
	info, err := f.dir.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: %w", name, errNoMember)
	}
	if err == nil && !info.Mode().IsRegular() { // a pipe would wait for a writer
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, 0, err
	}
	file, err := f.dir.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// text reads a whole file.
func (f *File) text(name string) ([]byte, error) {
	r, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > maxText {
		return nil, fmt.Errorf("%s has %d bytes, more than %d are not read", name, size, maxText)
	}
	return io.ReadAll(io.LimitReader(r, maxText))
}

func (f *File) decode(name string, into any) error {
	text, err := f.text(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// place is where a blob is.
func (f *File) place(d digest.Digest) string {
	if name, there := f.at[d]; there {
		return name
	}
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Fetch opens a blob.
func (f *File) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest of a blob: %w", err)
	}
	if text, there := f.made[d.Digest]; there {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	r, size, err := f.open(f.place(d.Digest))
	if errors.Is(err, errNoMember) {
		return nil, fmt.Errorf("%s has no blob %s: %w", f.name, d.Digest, content.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		return nil, errors.Join(content.SizeIs(d, size), r.Close())
	}
	return r, nil
}

// CheckSize refuses a descriptor that gives a blob another size than it has, or of a blob that isn't there.
func (f *File) CheckSize(d ocispec.Descriptor) error {
	r, err := f.Fetch(context.Background(), d)
	if err != nil {
		return err
	}
	return r.Close()
}
