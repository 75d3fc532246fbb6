package pull

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/decompress"
)

// owners are the IDs that the members of a layer belong to, and what else is to be known of it before it is unpacked.
type owners struct {
	uids, gids map[uint32]bool
	// odd says that the layer has to be made as an oddLayer; size is that of its archive, uncompressed, in bytes.
	odd  bool
	size int64
}

func (o *owners) list(ids map[uint32]bool) []uint32 { return slices.Sorted(maps.Keys(ids)) }

// scanLayer reads a layer's tar stream, compressed or not, to its end: it must have the digest and must not lead out of
// the layer. Unpacking looks for the latter again; here it is found before a file is written.
func scanLayer(r io.Reader, diffID digest.Digest) (*owners, error) {
	plain, err := plainStream(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	hash := digest.Canonical.Digester()
	size := ioCounter{}
	stream := io.TeeReader(plain, io.MultiWriter(hash.Hash(), &size))
	found, err := scanMembers(stream)
	if err != nil {
		return nil, err
	}

	// Bytes after the archive's end belong to the digests of the compressed and of the plain stream, so they are read.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if got := hash.Digest(); got != diffID {
		return nil, fmt.Errorf("unpacked it has digest %s, the image's config says %s", got, diffID)
	}

	found.size = size.n
	return found, nil
}

// ioCounter counts what is written to it.
type ioCounter struct{ n int64 }

func (c *ioCounter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func scanMembers(stream io.Reader) (*owners, error) {
	found := &owners{uids: map[uint32]bool{}, gids: map[uint32]bool{}}
	oddities := newOddities()
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
		if target := path.Clean(h.Linkname); h.Typeflag == tar.TypeLink &&
			(target == ".." || strings.HasPrefix(target, "../")) {
			return nil, fmt.Errorf("its archive has a hard link %q to a file outside of the image: %q", h.Name, h.Linkname)
		}
		if err := checkMember(h); err != nil {
			return nil, err
		}
		found.add(h)
		found.odd = oddities.note(h) || found.odd
	}
}

// oddities find out whether a layer is odd. What they keep of a path is a number that nobody can foresee: two paths
// that have the same make a layer odd that isn't, which only costs time.
type oddities struct {
	seed maphash.Seed
	// seen are the paths of the members so far, hidden those that whiteouts among them name.
	seen, hidden map[uint64]struct{}
}

func newOddities() *oddities {
	return &oddities{maphash.MakeSeed(), map[uint64]struct{}{}, map[uint64]struct{}{}}
}

func (o *oddities) has(in map[uint64]struct{}, name string) bool {
	_, ok := in[maphash.String(o.seed, name)]
	return ok
}

// note takes the next member and tells whether it makes the layer odd.
func (o *oddities) note(h *tar.Header) (odd bool) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return false
	}
	name := memberPath(h.Name)
	odd = o.has(o.seen, name)
	o.seen[maphash.String(o.seed, name)] = struct{}{}
	if h.Typeflag == tar.TypeLink {
		target := memberPath(h.Linkname)
		odd = odd || !o.has(o.seen, target) && !strings.HasPrefix(target, "/"+whiteoutPrefix+whiteoutPrefix)
	}

	dir, base := path.Split(name)
	if hides, ok := strings.CutPrefix(base, whiteoutPrefix); ok && !strings.HasPrefix(hides, whiteoutPrefix) {
		odd = odd || o.has(o.seen, dir+hides)
		o.hidden[maphash.String(o.seed, dir+hides)] = struct{}{}
		return odd
	}

	// A directory that the layer has removed and made again must not show what the layers below have in it.
	if h.Typeflag != tar.TypeDir {
		name = path.Dir(name)
	}

	for ; !odd && len(o.hidden) > 0 && name != "/"; name = path.Dir(name) {
		odd = o.has(o.hidden, name)
	}
	return odd
}

// checkMember refuses what would not be in the image as the archive has it.
func checkMember(h *tar.Header) error {
	// The highest number isn't an ID: the kernel takes it for "leave the owner as it is".
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return fmt.Errorf("its archive has a member %q of UID %d and GID %d: IDs go from 0 to %d\nhint: give the file another owner where the image is made",
			h.Name, h.Uid, h.Gid, uint32(math.MaxUint32-1))
	}

	const hint = "hint: no tool for building images writes that into a layer; don't trust the image"
	if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
		return fmt.Errorf("its archive has a member %q that is a device 0:0, by which an overlay file system would hide files of the layers below\n%s", h.Name, hint)
	}

	sparse := h.Typeflag == tar.TypeGNUSparse
	for key := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, sparseRecord)
		name, ok := strings.CutPrefix(key, xattrRecord)
		if ok && steersOverlay(name) {
			return fmt.Errorf("its archive has a member %q with the attribute %s, by which an overlay file system would show other files than the layers have\n%s",
				h.Name, name, hint)
		}
	}

	if sparse {
		return fmt.Errorf("its archive has a member %q, %s long, whose holes are left out in GNU tar's way: from the store it would come as another archive, "+
			"with zeros, and could be neither pushed nor saved\nhint: make the image's layer without tar's --sparse", h.Name,
			disk.FormatSize(h.Size))
	}

	return nil
}

// sparseRecord is the prefix of PAX records of a member with holes. tar-split, by which layers are given back, reads it
// as one without: see the caveat of its README.
const sparseRecord = "GNU.sparse."

// xattrRecord is the prefix of PAX records that are extended attributes.
const xattrRecord = "SCHILY.xattr."

// steersOverlay tells attributes that overlay obeys in a layer, under real root's name or others'. Those by which it
// only remembers where a file came from say nothing there, and archives that were packed from the raw directories of
// another tool have them.
func steersOverlay(name string) bool {
	kind, ok := strings.CutPrefix(name, "user.overlay.")
	if !ok {
		if kind, ok = strings.CutPrefix(name, "trusted.overlay."); !ok {
			return false
		}
	}
	return kind != "origin" && kind != "impure" && kind != "nlink"
}

// add notes the owners of a member, and the IDs that its capabilities and access control lists name.
func (o *owners) add(h *tar.Header) {
	o.uids[uint32(h.Uid)], o.gids[uint32(h.Gid)] = true, true
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		uids, gids := layer.AttrIDs(name, value)
		for _, id := range uids {
			o.uids[id] = true
		}
		for _, id := range gids {
			o.gids[id] = true
		}
	}
}

// plainStream is a layer's stream without its compression.
func plainStream(r io.Reader) (*decompress.Stream, error) {
	s, err := decompress.New(r)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if s.Format == decompress.XZ {
		return nil, errors.New("it is compressed with xz, which images don't use")
	}
	return s, nil
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
	return c.opts.Mapping.UIDs.Missing(slices.Collect(maps.Keys(u))),
		c.opts.Mapping.GIDs.Missing(slices.Collect(maps.Keys(g)))
}
