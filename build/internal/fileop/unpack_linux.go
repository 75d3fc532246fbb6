package fileop

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// SniffSize is how many bytes IsArchive wants to see, if there are as many: the magic of a tar header is at 257.
const SniffSize = 512

// IsArchive tells whether a stream that begins with head is a tar archive. What is compressed counts as one, for a
// compressed stream can't be anything else that a build knows; so does the block of zeros that an empty archive begins
// with.
func IsArchive(head []byte) bool {
	if decompress.Recognize(head) != decompress.None {
		return true
	}
	if len(head) < SniffSize {
		return false
	}
	if head = head[:SniffSize]; len(bytes.Trim(head, "\x00")) == 0 {
		return true
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil
}

// Unpack unpacks a tar archive, plain or compressed with gzip, bzip2, xz or zstd, into the directory dir, as a build
// context: everything belongs to 0:0, modes and times are kept, and names that a layer would take for deletions are
// names like others. Device nodes are left out and counted. A member that leads out of dir is ErrUnsafeArchive;
// symlinks, and names that go through them, are followed inside dir only. When Unpack fails, dir holds part of the
// archive.
func Unpack(ctx context.Context, archive io.Reader, dir string) (CopyResult, error) {
	return unpack(ctx, archive, dir, nil)
}

// UnpackForHost is Unpack to a place that other users of the machine may reach. Everything becomes the caller's, so
// that a set-user-ID program of whatever owner would run as the caller: the set-ID bits and capabilities go, of all
// files. The second result says of which.
func UnpackForHost(ctx context.Context, archive io.Reader, dir string) (CopyResult, Disarmed, error) {
	var d Disarmed
	result, err := unpack(ctx, archive, dir, &d)
	return result, d, err
}

// Disarmed tells which files have lost set-ID bits or capabilities.
type Disarmed struct {
	// Count is how many there are, and Names are the first of them.
	Count int64
	Names []string
}

// maxDisarmed is how many names a message can take.
const maxDisarmed = 3

// setIDs are the mode bits that make a program run as another user or group.
const setIDs = unix.S_ISUID | unix.S_ISGID

// take takes from a file's attributes what gives its user the rights of its owner, and notes the name if there was any.
func (d *Disarmed) take(name string, a *attrs) {
	n := len(a.xattrs)
	a.xattrs = slices.DeleteFunc(a.xattrs, func(x source.Xattr) bool { return x.Name == source.Capability })
	if a.mode&setIDs == 0 && len(a.xattrs) == n {
		return
	}
	a.mode &^= setIDs
	d.Count++
	if len(d.Names) < maxDisarmed {
		d.Names = append(d.Names, name)
	}
}

func unpack(ctx context.Context, archive io.Reader, dir string, disarmed *Disarmed) (result CopyResult, err error) {
	c, err := newCopier(ctx, CopyOptions{Chown: &Owner{}, Layer: dir, Dest: "/"}, true)
	if err != nil {
		return CopyResult{}, err
	}
	defer func() { err = errors.Join(err, c.tree.close(err == nil)) }()
	content, err := decompress.New(archive)
	if err != nil {
		return CopyResult{}, fmt.Errorf("read archive: %w", err)
	}
	defer content.Close()
	u := &unpacker{c: c, root: c.tree.root, disarmed: disarmed}
	err = u.all(content)
	if err = errors.Join(err, u.leave(err == nil)); err != nil {
		return CopyResult{}, err
	}
	return c.done.result(), nil
}

// isSparse tells whether a member's content has holes that the archive doesn't hold.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// allowSparse gives a file its size before anything is written to it. Holes take no space, but going through them takes
// time, and a few bytes are enough for years of it: so all sparse files together must be such as the file system could
// hold.
func (u *unpacker) allowSparse(fd int, size int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	room := int64(fs.Blocks) * fs.Bsize
	if size > room-u.sparse {
		return fmt.Errorf("%w: sparse files of more than %d MiB, the size of the file system", ErrUnsafeArchive, room>>20)
	}
	u.sparse += size
	return unix.Ftruncate(fd, size)
}

// sparseWriter writes what isn't zero and leaves holes for the rest: a few bytes of an archive may stand for a file of
// any size.
type sparseWriter struct {
	c  *copier
	fd int
	at int64
}

var _ io.Writer = (*sparseWriter)(nil)

// hole is the least that is worth a hole: a block of a file system, in bytes.
const hole = 4096

// Write implements io.Writer.
func (w *sparseWriter) Write(p []byte) (int, error) {
	if err := w.c.cause(); err != nil {
		return 0, err
	}
	var zeros [hole]byte
	for rest := p; len(rest) > 0; {
		n := int(min(hole-w.at%hole, int64(len(rest))))
		if !bytes.Equal(rest[:n], zeros[:n]) {
			if err := fsys.WriteAllAt(w.fd, rest[:n], w.at); err != nil {
				return len(p) - len(rest), err
			}
		}
		w.at += int64(n)
		rest = rest[n:]
	}
	w.c.done.moved(0, int64(len(p)))
	return len(p), nil
}
