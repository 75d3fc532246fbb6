package source

import (
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// readSize is how much of a file is read at a time, in bytes.
const readSize = 256 << 10

// file digests a regular file's content, or takes the digest from the cache.
func (d *digester) file(out *hashEntry, e Entry) error {
	if d.options.Cache != nil {
		st, err := LstatAt(e.Dir, e.Name)
		if err != nil {
			return err
		}
		if sum, ok := d.options.Cache.lookup(&st); ok && st.Mode&unix.S_IFMT == unix.S_IFREG {
			d.attributes(out, &st)
			out.sum = sum
			return nil
		}
	}
	began := time.Now()
	var st, after unix.Stat_t
	fd, err := OpenRegular(e.Dir, e.Name, &st)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	d.attributes(out, &st)
	if out.sum, err = d.content(fd, st.Size); err != nil || d.options.Cache == nil {
		return err
	}
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if cacheKey(&st) == cacheKey(&after) {
		d.options.Cache.insert(&st, out.sum, began)
	}
	return nil
}

// hashState is what it takes to digest a file, kept for the next one.
type hashState struct {
	hasher *blake3.Hasher
	buf    []byte
}

// content digests what is in an open file, with its attributes if it has any. A file no larger than the buffer that gives
// all of size isn't asked for more.
func (d *digester) content(fd int, size int64) (hashSum, error) {
	state, _ := d.states.Get().(*hashState)
	if state == nil {
		state = &hashState{hasher: blake3.New(), buf: make([]byte, readSize)}
	}
	defer d.states.Put(state)
	state.hasher.Reset()
	for total := int64(0); ; {
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, state.buf) })
		if err != nil {
			return hashSum{}, err
		}
		_, _ = state.hasher.Write(state.buf[:n])
		total += int64(n)
		if n == 0 || total == size && size < readSize {
			break
		}
	}
	sum := sumOf(state.hasher)
	xattrs, err := Xattrs(fd, d.options.WithOwner)
	if err != nil || len(xattrs) == 0 {
		return sum, err
	}
	return blake3.Sum256(append(appendXattrs(nil, xattrs), sum[:]...)), nil
}
