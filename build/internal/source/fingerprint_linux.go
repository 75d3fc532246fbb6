package source

import (
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Fingerprint gives a digest of the attributes of the files that the patterns select, inode and change time included,
// without reading any file. It changes when such a file is replaced or written to, even with the same content. If it is
// the same before and after files are read, none of them changed meanwhile. It is of no use to another build.
func Fingerprint(ctx context.Context, o DigestOptions) (digest.Digest, error) {
	sel, err := Select(o.Root, o.Query)
	if err != nil {
		return "", err
	}

	p := &prints{owners: o.Owners}
	for _, item := range sel.Items {
		p.add("", item.Path, &item.Stat)
		if !item.IsDir() {
			continue
		}
		tree := TreeOf(item, o.Filter, struct{}{})
		tree.Workers = o.Workers
		if err = Walk[struct{}](ctx, tree, p); err != nil {
			break
		}
	}

	if err = errors.Join(err, sel.Close()); err != nil {
		return "", err
	}
	return p.digest(), nil
}

// prints is the Visitor that adds up the digests of all files, so that their order doesn't matter. Sums could be made
// equal on purpose, but the guard is against a user who saves a file at the wrong moment, not against an attacker.
type prints struct {
	owners func(uid, gid uint32)

	mu  sync.Mutex
	sum [2]uint64
}

var _ Visitor[struct{}] = (*prints)(nil)

// digest gives the sum of all that were added.
func (p *prints) digest() digest.Digest {
	var sum [32]byte
	for i, n := range p.sum {
		binary.LittleEndian.PutUint64(sum[8*i:], n)
	}
	return digest.NewDigestFromBytes(digest.SHA256, sum[:])
}

// add adds a file; dir is the path of its directory. Nil prints add nothing.
func (p *prints) add(dir, name string, st *unix.Stat_t) {
	if p == nil {
		return
	}
	path := pathHash(dir).child(name)
	var one [len(p.sum)]uint64
	for lane := range one {
		h := path + uint64(lane)
		for _, n := range [...]uint64{
			st.Dev, st.Ino, uint64(st.Mode), uint64(st.Uid), uint64(st.Gid), uint64(st.Size),
			uint64(st.Mtim.Nano()), uint64(st.Ctim.Nano()),
		} {
			h = mix(h, n)
		}
		one[lane] = h
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owners != nil {
		p.owners(st.Uid, st.Gid)
	}
	for i := range p.sum {
		p.sum[i] += one[i]
	}
}

// mix stirs a number into a sum, so that every bit of both counts in every bit of the result.
func mix(sum, n uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	hi, lo := bits.Mul64(sum^n^odd, sum+odd|1)
	return hi ^ lo ^ n*odd
}

func (p *prints) Enter(_ struct{}, e Entry, fd int) (struct{}, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return struct{}{}, err
	}
	p.add(e.dirPath, e.Name, &st)
	return struct{}{}, nil
}

func (p *prints) Visit(_ struct{}, e Entry) error {
	st, err := fsys.LstatAt(e.Dir, e.Name)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	p.add(e.dirPath, e.Name, &st)
	return nil
}

// Leave does nothing: there is no state for a directory.
func (*prints) Leave(struct{}, bool) error { return nil }
