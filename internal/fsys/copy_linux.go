package fsys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// copyBuffer is what one read takes, in bytes: a smaller file is copied by one read and one write, which is cheaper
	// than the calls that would find out how to do it better.
	copyBuffer = 128 << 10
	// copyRange is what one copy_file_range(2) is asked for, in bytes, between two looks at whether the copy is to stop.
	copyRange = 16 << 20
	// smallestSparse is the size in bytes up to which holes aren't worth being looked for. Small files have no blocks at
	// all on some file systems.
	smallestSparse = 64 << 10
	// blockSize is the unit of st_blocks in bytes.
	blockSize = 512
)

// A Copier copies the data of regular files: by sharing blocks (FICLONE) where the file system can, inside the kernel
// otherwise, and by reading and writing where neither works. Holes stay holes. It remembers what didn't work, so one
// Copier is for files of one file system copied to one other. The zero value is ready; it is safe for concurrent use.
type Copier struct {
	// Done is told the number of bytes that a file has grown by, holes included, while it is copied; nil: nobody is told.
	Done func(bytes int64)
	// ShareSmall has the blocks of small files shared, too: for copies that stay, where space counts for more than the
	// time of a call.
	ShareSmall bool
	// WriteBack has the disk begin with the data of large files while the rest of them is copied: for copies that somebody
	// waits to be on the disk. It is a hint; an error of the disk comes when that is waited for.
	WriteBack bool

	buffers          sync.Pool
	noClone, noRange atomic.Bool
}

// Copy copies all of src, of which st was just taken, to the empty file dst. Both descriptors are at offset 0 and are
// left somewhere. It gives the number of bytes copied: another number than st.Size says that the file was changed
// meanwhile. The error is the context's cause when that has ended.
func (c *Copier) Copy(ctx context.Context, dst, src int, st *unix.Stat_t) (int64, error) {
	return c.CopyUntil(func() error { return context.Cause(ctx) }, dst, src, st)
}

// CopyUntil is Copy for who has no context at hand: stop is asked now and then, and its error ends the copy.
func (c *Copier) CopyUntil(stop func() error, dst, src int, st *unix.Stat_t) (int64, error) {
	if (st.Size > copyBuffer || c.ShareSmall && st.Size > 0) && c.clone(dst, src) {
		c.done(st.Size)
		return st.Size, nil
	}
	if st.Size > smallestSparse && st.Blocks*blockSize < st.Size {
		return c.sparse(stop, dst, src, st.Size)
	}
	return c.rest(stop, dst, src, st.Size, 0)
}

func (c *Copier) done(n int64) {
	if c.Done != nil && n > 0 {
		c.Done(n)
	}
}

func (c *Copier) clone(dst, src int) bool {
	if c.noClone.Load() {
		return false
	}
	if err := Retry0(func() error { return unix.IoctlFileClone(dst, src) }); err != nil {
		c.noClone.Store(true)
		return false
	}
	return true
}

// rest copies from both descriptors' offsets to the end of the file, whose size is expected to be size with the offset
// at.
func (c *Copier) rest(stop func() error, dst, src int, size, at int64) (int64, error) {
	if size-at > copyBuffer {
		if n, err := c.ranges(stop, dst, src); n > 0 || err != nil {
			return at + n, err
		}
	}
	n, err := c.plain(stop, dst, src, size-at)
	return at + n, err
}

// ranges copies inside the kernel; 0 and no error means that it can't.
func (c *Copier) ranges(stop func() error, dst, src int) (total int64, err error) {
	for !c.noRange.Load() {
		if err := stop(); err != nil {
			return total, err
		}
		n, err := Retry(func() (int, error) { return unix.CopyFileRange(src, nil, dst, nil, copyRange, 0) })
		switch {
		case err != nil && total == 0 && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) &&
			!errors.Is(err, unix.EIO):
			// Different file systems, an old kernel, a file system that doesn't do it.
			c.noRange.Store(true)
		case err != nil:
			return total, err
		case n == 0:
			return total, nil
		case c.WriteBack:
			_ = unix.SyncFileRange(dst, total, int64(n), unix.SYNC_FILE_RANGE_WRITE)
		}
		total += int64(max(n, 0))
		c.done(int64(n))
	}
	return total, nil
}

func (c *Copier) buffer() *[]byte {
	if buf, ok := c.buffers.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, copyBuffer)
	return &buf
}

// plain reads and writes up to the end of the source. A file smaller than the buffer that gives all that it should
// isn't asked for more.
func (c *Copier) plain(stop func() error, dst, src int, size int64) (total int64, err error) {
	buf := c.buffer()
	defer c.buffers.Put(buf)
	for {
		if err := stop(); err != nil {
			return total, err
		}
		n, err := Retry(func() (int, error) { return unix.Read(src, *buf) })
		if err != nil {
			return total, fmt.Errorf("read: %w", err)
		}
		if err := WriteAll(dst, (*buf)[:n]); err != nil {
			return total, fmt.Errorf("write: %w", err)
		}
		total += int64(n)
		c.done(int64(n))
		if n == 0 || total == size && size < copyBuffer {
			return total, nil
		}
	}
}

// sparse copies what holds data and leaves the holes.
func (c *Copier) sparse(stop func() error, dst, src int, size int64) (int64, error) {
	for at := int64(0); at < size; {
		data, hole, err := NextData(src, at, size)
		if errors.Is(err, io.EOF) {
			c.done(size - at)
			break
		}
		if err != nil { // no holes to be found on this file system
			return c.tail(stop, dst, src, size, at)
		}
		c.done(data - at)
		if err := c.piece(stop, dst, src, data, hole); err != nil {
			return at, err
		}
		at = hole
	}
	if err := Retry0(func() error { return unix.Ftruncate(dst, size) }); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	return size, nil
}

// NextData finds the next bytes of a file of the given size that are no hole, from an offset on: [data, hole). The
// error is io.EOF if nothing but a hole follows. The descriptor's offset is changed.
func NextData(fd int, at, size int64) (data, hole int64, err error) {
	if data, err = unix.Seek(fd, at, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) || err == nil && data >= size {
		return size, size, io.EOF
	}
	if err == nil {
		hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	}
	return data, min(hole, size), err
}

func (c *Copier) tail(stop func() error, dst, src int, size, at int64) (int64, error) {
	for _, fd := range []int{src, dst} {
		if _, err := unix.Seek(fd, at, unix.SEEK_SET); err != nil {
			return at, err
		}
	}
	return c.rest(stop, dst, src, size, at)
}

// piece copies the bytes from one offset to another.
func (c *Copier) piece(stop func() error, dst, src int, from, to int64) error {
	buf := c.buffer()
	defer c.buffers.Put(buf)
	for from < to {
		if err := stop(); err != nil {
			return err
		}
		n, err := Retry(func() (int, error) { return unix.Pread(src, (*buf)[:min(to-from, copyBuffer)], from) })
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 { // it has become shorter
			return nil
		}
		if err := WriteAllAt(dst, (*buf)[:n], from); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		from += int64(n)
		c.done(int64(n))
	}
	return nil
}
