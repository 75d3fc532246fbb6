package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/tarsplit"
)

// ErrStrange says that an archive is out of the ordinary: the directory has a part of it, and is to be thrown away.
var ErrStrange = errors.New("the archive is out of the ordinary")

// Options say how an archive is unpacked.
type Options struct {
	// DiffID is the digest that the archive must have, uncompressed.
	DiffID digest.Digest
	// Dir is the path of an empty directory of the caller's own.
	Dir string
	// TarSplit gets the records by which the library makes the archive again.
	TarSplit io.Writer
	// Marks is the prefix of overlay's own attributes.
	Marks string
	// Nested says that this process is root of a user namespace, who can't make devices, nor set all attributes: both
	// are left out.
	Nested bool
	// Writers write small files.
	Writers *Writers
	// Reserve is called with the memory in bytes that the decompression needs before it is taken; may be nil. What it
	// returns is called at the end.
	Reserve func(ctx context.Context, memory int64) (release func(), err error)
	// Interrupt makes the reader give an error soon; may be nil.
	Interrupt func()
}

// Result is what comes of an archive.
type Result struct {
	*Archive
	// Format is the compression that it came in.
	Format decompress.Format
	// Root tells whether it has attributes for the root directory.
	Root bool
	// Members are the IDs of the members that are no whiteouts, as the library notes them.
	Members *Archive
}

// Unpack reads a layer's archive, compressed or not, to its end and unpacks it. With an error the result says what of
// the archive was read before; if that is an [OwnerError], all of it was, but for its digest.
func Unpack(ctx context.Context, r io.Reader, o Options) (res Result, err error) {
	res = Result{Archive: newArchive(), Members: newArchive()}
	plain, err := Plain(r)
	if err != nil {
		return res, err
	}
	defer plain.Close()
	res.Format = plain.Format
	if o.Reserve != nil {
		release, err := o.Reserve(ctx, plain.Memory)
		if err != nil {
			return res, err
		}
		defer release()
	}
	hash := digest.Canonical.Digester()
	s := newStream(r, plain, hash.Hash())
	defer s.close()
	if o.Interrupt != nil {
		defer o.Interrupt() // it is called before close, which waits for the reader
	}
	u := &unpacker{Options: o, res: &res, split: tarsplit.NewWriter(o.TarSplit), ctx: ctx}
	if err := errors.Join(u.all(s), u.end()); err != nil {
		return res, err
	}
	res.Size = s.size
	return res, isDiffID(hash.Digest(), o.DiffID)
}

// unpacker unpacks one archive.
type unpacker struct {
	Options
	res   *Result
	ctx   context.Context //nolint:containedctx // it lives as long as one call of Unpack
	root  int
	in    *recorder
	split *tarsplit.Writer
	files tally
	// parent is the directory of the last member, whose path is parentName.
	parent     *dir
	parentName string
	// dirs are the directories that the archive has, and implied those that it only has something in.
	dirs    []directory
	implied map[string]bool
	links   []link
	// failed is the error of a member's owner: the rest is only read, to learn of all owners.
	failed error
	buf    []byte
}

// directory is a directory that gets its attributes at the end.
type directory struct {
	path string
	attr attributes
}

// recorder reads an archive, and notes all bytes that aren't the data of a file.
type recorder struct {
	from io.Reader
	to   *tarsplit.Writer
	data bool
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if !r.data {
		r.to.Frame(p[:n])
	}
	return n, err
}

// all unpacks the members and reads what follows them.
func (u *unpacker) all(s io.Reader) error {
	root, err := u.openRoot()
	if err != nil {
		return err
	}
	u.root, u.in, u.implied = root, &recorder{from: s, to: u.split}, map[string]bool{}
	defer func() { _ = unix.Close(root) }() // nothing was written to it
	if err := u.res.members(u.in, u.member); err != nil {
		return err
	}
	if err := u.trailer(); err != nil {
		return err
	}
	if u.failed == nil {
		u.fail(u.finish())
	}
	return u.failed
}

// openRoot opens the directory, and takes from it what it may have from the one that it lies in.
func (u *unpacker) openRoot() (fd int, err error) {
	if fd, err = unix.Open(u.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return -1, &os.PathError{Op: "open", Path: u.Dir, Err: err}
	}
	uid, gid := fsys.OwnIDs()
	err = errors.Join(unix.Fchown(fd, int(uid), int(gid)), unix.Fchmod(fd, 0o700))
	for _, name := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		_ = unix.Fremovexattr(fd, name) // there is none, or the file system has none
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("prepare %s: %w", u.Dir, err), unix.Close(fd))
	}
	return fd, nil
}

// trailer reads the bytes after the archive's end mark, which belong to its digest.
func (u *unpacker) trailer() error {
	buf := make([]byte, pieceSize)
	for {
		if err := u.split.Segment(); err != nil {
			return fmt.Errorf("write tar-split: %w", err)
		}
		n, err := u.in.Read(buf)
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
	}
}

// end waits for what is still being written.
func (u *unpacker) end() error {
	u.files.under.Wait()
	if u.parent != nil {
		u.parent.release()
	}
	if err := u.split.Close(); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	return nil
}

// member unpacks a member and notes it.
func (u *unpacker) member(h *tar.Header, body io.Reader) (err error) {
	if !strings.HasPrefix(path.Base(h.Name), WhiteoutPrefix) {
		u.res.Members.UIDs[uint32(h.Uid)], u.res.Members.GIDs[uint32(h.Gid)] = true, true
	}
	if u.res.Odd {
		return ErrStrange
	}
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	if err := u.split.Segment(); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	data := &counted{recorder: u.in, from: body, left: h.Size}
	if u.failed == nil {
		if err := u.make(h, data); err != nil && data.err == nil {
			u.fail(err)
			if owner := new(OwnerError); !errors.As(u.failed, &owner) {
				return u.failed
			}
		}
	}
	if err := data.drain(); err != nil {
		return err
	}
	if err := u.split.File([]byte(h.Name), h.Size, data.crc); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	return nil
}

// fail notes an error of a file. What is neither the machine's fault nor an owner's makes the archive a strange one.
func (u *unpacker) fail(err error) {
	if written := u.files.failed(); written != nil {
		err = written
	}
	owner := new(OwnerError)
	if err != nil && !full(err) && !errors.As(err, &owner) {
		err = fmt.Errorf("%w: %w", ErrStrange, err)
	}
	u.failed = err
}

// counted reads a member's data and makes its checksum.
type counted struct {
	*recorder
	from io.Reader
	left int64
	crc  uint64
	err  error // of the archive
}

func (c *counted) Read(p []byte) (int, error) {
	c.data = true
	n, err := c.from.Read(p)
	c.data = false
	c.left -= int64(n)
	c.crc = tarsplit.CRC(c.crc, p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = fmt.Errorf("read its archive: %w", err)
		err = c.err
	}
	return n, err
}

// drain reads what nobody has read.
func (c *counted) drain() error {
	if c.err == nil && c.left > 0 {
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
	}
	if c.err == nil && c.left != 0 { // the library takes the size for that of data where a member has none
		return ErrStrange
	}
	return c.err
}
