package source

import (
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// readSize is how many bytes of a file are read at a time.
const readSize = 256 << 10

// file digests a regular file's content, or takes the digest from the cache. It sets st to the file's attributes.
func (d *digester) file(out *hashEntry, e Entry, st *unix.Stat_t) (err error) {
	if d.options.Cache != nil || d.options.SkipFrom > 0 {
		if *st, err = fsys.LstatAt(e.Dir, e.Name); err != nil {
			return err
		}
		if done := d.unread(out, st); done {
			return nil
		}
	}

	began := time.Now()
	var after unix.Stat_t
	fd, err := OpenRegular(e.Dir, e.Name, st)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	d.attributes(out, st)
	known, isKnown := d.options.Known.lookup(st)
	if isKnown {
		began, out.sum = known.began, known.sum
	} else if out.sum, err = d.data(fd, st.Size); err != nil {
		return err
	}

	data := out.sum
	if out.sum, err = d.withXattrs(fd, data); err != nil {
		return err
	}
	if out.mark = markOf(data, out.sum); d.options.Cache == nil {
		return nil
	}
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if cacheKey(st) == cacheKey(&after) {
		d.options.Cache.insert(st, fileSum{out.sum, out.mark}, began)
	}

	return nil
}

// unread digests a file without opening it, from Known or Cache, or skips it if it is too large. It reports whether it
// did either.
func (d *digester) unread(out *hashEntry, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	if sum, ok := d.options.Cache.lookup(st); ok {
		d.attributes(out, st)
		out.sum, out.mark = sum.sum, sum.mark
		return true
	}
	if _, known := d.options.Known.lookup(st); known || d.options.SkipFrom == 0 || st.Size < d.options.SkipFrom {
		return false
	}
	d.skipped.Store(true)
	return true
}

// hashState is a hasher and a buffer for digesting one file at a time; digester.states keeps it for the next file.
type hashState struct {
	hasher *blake3.Hasher
	buf    []byte
}

// data digests the content of an open file whose size by fstat is size bytes. A file that fits in the buffer is read
// with one call if that gives size bytes.
func (d *digester) data(fd int, size int64) (hashSum, error) {
	state, _ := d.states.Get().(*hashState)
	if state == nil {
		state = &hashState{hasher: blake3.New(), buf: make([]byte, readSize)}
	}
	defer d.states.Put(state)
	state.hasher.Reset()
	for total := int64(0); ; {
		n, err := fsys.Retry(func() (int, error) { return unix.Read(fd, state.buf) })
		if err != nil {
			return hashSum{}, err
		}
		_, _ = state.hasher.Write(state.buf[:n])
		total += int64(n)
		if n == 0 || total == size && size < readSize {
			return sumOf(state.hasher), nil
		}
		if err := d.ended(); err != nil {
			return hashSum{}, err
		}
	}
}

// withXattrs gives the digest of an open file's data, which is sum, combined with its extended attributes, if it has
// any.
func (d *digester) withXattrs(fd int, sum hashSum) (hashSum, error) {
	xattrs, err := Xattrs(fd, d.options.WithOwner)
	if err != nil || len(xattrs) == 0 {
		return sum, err
	}
	return blake3.Sum256(append(appendXattrs(nil, xattrs), sum[:]...)), nil
}
