package store

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// maxWindow bounds the memory of a decoder, in bytes: a zstd frame may ask for far more.
const maxWindow = 128 << 20

// owners are the IDs that the members of a layer belong to.
type owners struct{ uids, gids map[uint32]bool }

// scanLayer reads a layer's tar stream, compressed or not, to its end: it must have the digest and must not lead out of the
// layer. Unpacking looks for the latter again; here it is found before a file is written.
func scanLayer(r io.Reader, diffID digest.Digest) (*owners, error) {
	plain, stop, err := decompress(r)
	if err != nil {
		return nil, err
	}
	defer stop()
	hash := digest.Canonical.Digester()
	stream := io.TeeReader(plain, hash.Hash())
	found, err := scanMembers(stream)
	if err != nil {
		return nil, err
	}
	// What follows the archive's end belongs to both digests.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if got := hash.Digest(); got != diffID {
		return nil, fmt.Errorf("unpacked it has digest %s, the image's config says %s", got, diffID)
	}
	return found, nil
}

func scanMembers(stream io.Reader) (*owners, error) {
	found := &owners{uids: map[uint32]bool{}, gids: map[uint32]bool{}}
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read its archive: %w", err)
		}
		if name := path.Clean(h.Name); name == ".." || strings.HasPrefix(name, "../") {
			return nil, fmt.Errorf("its archive has a member outside of the image: %q", h.Name)
		}
		if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32 || h.Gid > math.MaxUint32 {
			return nil, fmt.Errorf("its archive has a member %q of UID %d and GID %d", h.Name, h.Uid, h.Gid)
		}
		found.uids[uint32(h.Uid)] = true
		found.gids[uint32(h.Gid)] = true
	}
}

// decompress finds out how a stream is compressed. The function it returns frees the decoder.
func decompress(r io.Reader) (plain io.Reader, stop func(), err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	is := func(prefix string) bool { return strings.HasPrefix(string(magic), prefix) }
	switch {
	case is("\x1f\x8b"):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", err)
		}
		return z, func() { _ = z.Close() }, nil
	case is("\x28\xb5\x2f\xfd"), len(magic) >= 4 && is(string(magic[0])+"\x2a\x4d\x18") && magic[0]&0xf0 == 0x50:
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", err)
		}
		return z, z.Close, nil
	case is("BZh"):
		return bzip2.NewReader(b), func() {}, nil
	case is("\xfd7zXZ\x00"):
		return nil, nil, errors.New("it is compressed with xz, which images don't use")
	}
	return b, func() {}, nil
}

// unmapped tells whether IDs are beyond the user's ranges.
func (c *layerCopy) unmapped(o *owners) bool {
	uids, gids := c.beyond([]*owners{o})
	return len(uids)+len(gids) > 0
}

// missingIDs names all IDs beyond the user's ranges in the layers that were fetched.
func (c *layerCopy) missingIDs(fetched []*pendingLayer) error {
	var all []*owners
	for _, l := range fetched {
		if l.owners != nil {
			all = append(all, l.owners)
		}
	}
	uids, gids := c.beyond(all)
	return &MissingIDs{Image: c.opts.Name, UIDs: uids, GIDs: gids}
}

func (c *layerCopy) beyond(all []*owners) (uids, gids []uint32) {
	if c.opts.Mapping == nil {
		return nil, nil
	}
	u, g := map[uint32]bool{}, map[uint32]bool{}
	for _, o := range all {
		maps.Copy(u, o.uids)
		maps.Copy(g, o.gids)
	}
	return c.opts.Mapping.UIDs.Missing(slices.Collect(maps.Keys(u))), c.opts.Mapping.GIDs.Missing(slices.Collect(maps.Keys(g)))
}
