package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/owners"
	"github.com/cooperbuild/cooper/internal/decompress"
)

// Archive is what is known of a layer's archive that was read.
type Archive struct {
	// UIDs and GIDs are the IDs that its members belong to, and those that their capabilities and access control lists
	// name.
	UIDs, GIDs map[uint32]bool
	// Odd says that the archive can't be unpacked as it is: a path comes twice, a hard link leads to a file of another
	// layer, or a whiteout hides what the layer itself has.
	Odd bool
	// Size is that of the archive, uncompressed, in bytes.
	Size int64
}

func newArchive() *Archive { return &Archive{UIDs: map[uint32]bool{}, GIDs: map[uint32]bool{}} }

// Scan reads a layer's tar stream, compressed or not, to its end: it must have the digest and must not lead out of
// the layer. Unpacking looks for the latter again; here it is found before a file is written.
func Scan(r io.Reader, diffID digest.Digest) (*Archive, error) {
	plain, err := Plain(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	hash := digest.Canonical.Digester()
	size := ioCounter{}
	stream := io.TeeReader(plain, io.MultiWriter(hash.Hash(), &size))
	found := newArchive()
	if err := found.members(stream, func(*tar.Header, io.Reader) error { return nil }); err != nil {
		return nil, err
	}

	// Bytes after the archive's end belong to the digests of the compressed and of the plain stream, so they are read.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	found.Size = size.n
	return found, isDiffID(hash.Digest(), diffID)
}

// isDiffID compares the digest of what came with that of the image's config.
func isDiffID(got, want digest.Digest) error {
	if got != want {
		return fmt.Errorf("unpacked it has digest %s, the image's config says %s", got, want)
	}
	return nil
}

// ioCounter counts what is written to it.
type ioCounter struct{ n int64 }

func (c *ioCounter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// members reads an archive's members, notes what they are, and hands each that is allowed in a layer to take.
func (a *Archive) members(stream io.Reader, take func(h *tar.Header, body io.Reader) error) error {
	oddities := newOddities()
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read its archive: %w", err)
		}
		if err := checkMember(h); err != nil {
			return err
		}
		a.add(h)
		a.Odd = oddities.note(h) || a.Odd
		if err := take(h, r); err != nil {
			return err
		}
	}
}

// How members say what they hide of the layers below.
const (
	WhiteoutPrefix = ".wh."
	OpaqueName     = ".wh..wh..opq"
)

// MemberPath is a member's path in the root file system.
func MemberPath(name string) string { return path.Clean("/" + name) }

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
	name := MemberPath(h.Name)
	odd = o.has(o.seen, name)
	o.seen[maphash.String(o.seed, name)] = struct{}{}
	if h.Typeflag == tar.TypeLink {
		target := MemberPath(h.Linkname)
		odd = odd || !o.has(o.seen, target) && !strings.HasPrefix(target, "/"+WhiteoutPrefix+WhiteoutPrefix)
	}

	dir, base := path.Split(name)
	if hides, ok := strings.CutPrefix(base, WhiteoutPrefix); ok && !strings.HasPrefix(hides, WhiteoutPrefix) {
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
	if name := path.Clean(h.Name); name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("its archive has a member outside of the image: %q", h.Name)
	}
	if target := path.Clean(h.Linkname); h.Typeflag == tar.TypeLink &&
		(target == ".." || strings.HasPrefix(target, "../")) {
		return fmt.Errorf("its archive has a hard link %q to a file outside of the image: %q", h.Name, h.Linkname)
	}

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
		name, ok := strings.CutPrefix(key, XattrRecord)
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

// XattrRecord is the prefix of PAX records that are extended attributes.
const XattrRecord = "SCHILY.xattr."

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
func (a *Archive) add(h *tar.Header) {
	a.UIDs[uint32(h.Uid)], a.GIDs[uint32(h.Gid)] = true, true
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, XattrRecord)
		if !ok {
			continue
		}
		uids, gids := owners.OfAttr(name, value)
		for _, id := range uids {
			a.UIDs[id] = true
		}
		for _, id := range gids {
			a.GIDs[id] = true
		}
	}
}

// Plain is a layer's stream without its compression.
func Plain(r io.Reader) (*decompress.Stream, error) {
	s, err := decompress.New(r)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if s.Format == decompress.XZ {
		return nil, errors.New("it is compressed with xz, which images don't use")
	}
	return s, nil
}
