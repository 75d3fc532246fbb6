package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
)

// blobFile is the name of the file in each entry of a blob.
const blobFile = "blob"

// fileMode is the mode of that file.
const fileMode = 0o600

// Blob opens a compressed layer that KeepBlob has kept; nil: there is none, or it was damaged and Blob has removed it.
// The caller closes the file, which stays whole when the entry is removed meanwhile.
func (s *Sources) Blob(ctx context.Context, d ocispec.Descriptor) (*os.File, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("open kept blob: %w", err)
	}
	entry := s.blobEntry(d.Digest)
	held, err := s.kept.Hold(ctx, entry)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open kept blob: %w", err)
	}
	file, err := os.Open(filepath.Join(entry, blobFile))
	if err = errors.Join(err, held.Release()); err != nil {
		return nil, s.dropBlob(entry, err)
	}
	if err := isBlob(file, d); err != nil {
		return nil, s.dropBlob(entry, errors.Join(err, file.Close()))
	}
	return file, nil
}

// isBlob reads a file to its end. Blobs aren't synced when they are kept, so that nobody waits for the disk; the
// read finds blobs that a power cut has damaged.
func isBlob(file *os.File, d ocispec.Descriptor) error {
	verifier := d.Digest.Verifier()
	n, err := io.Copy(verifier, io.NewSectionReader(file, 0, math.MaxInt64))
	if err == nil && (n != d.Size || !verifier.Verified()) {
		err = fmt.Errorf("%d bytes are not %s: %w", n, d.Digest, shelf.ErrChecksum)
	}
	return err
}

// dropBlob removes an entry that can't be used. The next one who needs the blob makes it anew, so this is no error.
func (s *Sources) dropBlob(entry string, _ error) error {
	_, err := s.kept.Remove(entry, time.Now())
	return err
}

func (s *Sources) blobEntry(d digest.Digest) string {
	return s.kept.Entry(shelf.Blobs, d.Algorithm().String()+"-"+d.Encoded())
}

// KeepBlob keeps a compressed layer: the content of a file from its beginning, whose digest the caller has seen. A file
// without a name on the same file system is linked, any other copied. The label tells people in lists which
// layer or image the blob belongs to.
func (s *Sources) KeepBlob(ctx context.Context, d digest.Digest, label string, from *os.File) (err error) {
	if _, err := os.Lstat(s.blobEntry(d)); err == nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep blob %s: %w", d, err)
		}
	}()
	dir, remove, err := s.kept.Temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	whole := filepath.Join(dir, "whole")
	if err := os.Mkdir(whole, 0o700); err != nil {
		return err
	}
	if err := linkOrCopy(ctx, filepath.Join(whole, blobFile), from); err != nil {
		return err
	}
	if err := shelf.Describe(ctx, whole, label); err != nil {
		return err
	}
	return s.kept.Place(ctx, whole, s.blobEntry(d))
}

// linkOrCopy gives the content of a file another name. A file that has a name already is copied,
// since it may be changed under that name.
func linkOrCopy(ctx context.Context, path string, from *os.File) (err error) {
	var st unix.Stat_t
	if unix.Fstat(int(from.Fd()), &st) == nil && st.Nlink == 0 && unix.Linkat(unix.AT_FDCWD,
		fmt.Sprintf("/proc/self/fd/%d", from.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW) == nil {
		return nil
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	rest := io.NewSectionReader(from, 0, math.MaxInt64)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := io.CopyN(to, rest, copyStep); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// copyStep is how many bytes are copied between two looks at the context.
const copyStep = 16 << 20
