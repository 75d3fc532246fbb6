package fileop

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is how much is read at a time, and the size up to which a file is copied with read and write: fewer
	// calls than anything cleverer.
	bufferSize = 128 << 10
	// rangeSize is how much is copied by one call: a cancelled copy stops after as much.
	rangeSize = 16 << 20
)

// content copies the data of a regular file, counts it, and returns its size, which may differ from st.Size if the
// source is being written to.
func (c *copier) content(dst, src int, st *unix.Stat_t) (int64, error) {
	if st.Size > bufferSize {
		if c.clone(dst, src) {
			c.moved(0, st.Size)
			return st.Size, nil
		}
		if st.Blocks*512 < st.Size {
			return c.sparse(dst, src, st.Size)
		}
		if n, err := c.ranges(dst, src); n > 0 || err != nil {
			return n, err
		}
	}
	return c.plain(dst, src, st.Size)
}

// clone shares the blocks, where the file system can.
func (c *copier) clone(dst, src int) bool {
	if c.noClone.Load() {
		return false
	}
	if err := unix.IoctlFileClone(dst, src); err != nil {
		c.noClone.Store(true)
		return false
	}
	return true
}

// ranges copies inside the kernel from both files' offsets on; 0 and no error means that it can't.
func (c *copier) ranges(dst, src int) (int64, error) {
	var total int64
	for !c.noRange.Load() {
		if err := c.cause(); err != nil {
			return total, err
		}
		n, err := unix.CopyFileRange(src, nil, dst, nil, rangeSize, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil && total == 0 && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT):
			// Different file systems, an old kernel, a file system that doesn't do it.
			c.noRange.Store(true)
		case err != nil:
			return total, err
		case n == 0:
			return total, nil
		default:
			// The layer has to be on the disk before the build is done: the disk begins with it while the processor goes on. It
			// is only a hint, and an error of the disk comes again when that is waited for.
			_ = unix.SyncFileRange(dst, total, int64(n), unix.SYNC_FILE_RANGE_WRITE)
			total += int64(n)
			c.moved(0, int64(n))
		}
	}
	return total, nil
}

// plain reads and writes up to the end of the source. A file no larger than the buffer that gives all that it should
// isn't asked for more.
func (c *copier) plain(dst, src int, size int64) (int64, error) {
	buf, _ := c.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
		*buf = make([]byte, bufferSize)
	}
	defer c.buffers.Put(buf)
	var total int64
	for {
		if err := c.cause(); err != nil {
			return total, err
		}
		n, err := unix.Read(src, *buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return total, fmt.Errorf("read: %w", err)
		}
		if err := writeAll(dst, (*buf)[:n]); err != nil {
			return total, err
		}
		total += int64(n)
		c.moved(0, int64(n))
		if n == 0 || total == size && size < bufferSize {
			return total, nil
		}
	}
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		data = data[n:]
	}
	return nil
}

// sparse copies what holds data and leaves the holes.
func (c *copier) sparse(dst, src int, size int64) (int64, error) {
	for at := int64(0); at < size; {
		data, err := unix.Seek(src, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			c.moved(0, size-at)
			break
		}
		if err != nil {
			// No holes to be found on this file system. Both offsets are where the last piece ended.
			return c.tail(dst, src, at)
		}
		hole, err := unix.Seek(src, data, unix.SEEK_HOLE)
		if err != nil {
			return c.tail(dst, src, at)
		}
		c.moved(0, data-at)
		if err := c.piece(dst, src, data, min(hole, size)); err != nil {
			return at, err
		}
		at = hole
	}
	return size, unix.Ftruncate(dst, size)
}

// tail copies from an offset to the end.
func (c *copier) tail(dst, src int, at int64) (int64, error) {
	for _, fd := range []int{src, dst} {
		if _, err := unix.Seek(fd, at, unix.SEEK_SET); err != nil {
			return at, err
		}
	}
	n, err := c.plain(dst, src, -1)
	return at + n, err
}

// piece copies the bytes from one offset to another.
func (c *copier) piece(dst, src int, from, to int64) error {
	buf := make([]byte, min(to-from, bufferSize))
	for from < to {
		if err := c.cause(); err != nil {
			return err
		}
		n, err := unix.Pread(src, buf[:min(to-from, int64(len(buf)))], from)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return nil
		}
		if _, err := unix.Seek(dst, from, unix.SEEK_SET); err != nil {
			return err
		}
		if err := writeAll(dst, buf[:n]); err != nil {
			return err
		}
		from += int64(n)
		c.moved(0, int64(n))
	}
	return nil
}
