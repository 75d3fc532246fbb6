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
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/owners"
	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/internal/fsys"
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
	// kept is how many bytes of names and attributes are in memory until the archive has ended.
	kept int64
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
	oddities, head := newOddities(), &headers{from: stream}
	for r := tar.NewReader(head); ; {
		head.left = maxHeaders
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read its archive: %w", err)
		}
		if err := errors.Join(checkMember(h), a.keep(h)); err != nil {
			return err
		}
		a.add(h)
		a.Odd = oddities.note(h) || a.Odd
		head.left = math.MaxInt64
		if err := take(h, r); err != nil {
			return err
		}
		if err := skip(r); err != nil {
			return err
		}
	}
}

// skip reads what nobody has read of a member.
func skip(body io.Reader) error {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read its archive: %w", err)
	}
	return nil
}

// What an archive of any length may take of memory, in bytes: for the headers of one member, which are kept until the
// member comes, and for what is kept of directories and hard links until the end.
const (
	maxHeaders = 16 << 20
	maxKept    = 256 << 20
)

// headers read a stream, of which at most left bytes may be read.
type headers struct {
	from io.Reader
	left int64
}

func (h *headers) Read(p []byte) (int, error) {
	n, err := h.from.Read(p)
	if h.left -= int64(n); h.left < 0 {
		return n, fmt.Errorf("a member has more than %s of headers", disk.FormatSize(maxHeaders))
	}
	return n, err
}

// keep counts what is kept of a member.
func (a *Archive) keep(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeLink {
		return nil
	}
	a.kept += int64(len(h.Name) + len(h.Linkname))
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, XattrRecord) {
			a.kept += int64(len(key) + len(value))
		}
	}
	if a.kept > maxKept {
		return fmt.Errorf("its archive has more than %s of names and attributes of directories and hard links",
			disk.FormatSize(maxKept))
	}
	return nil
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
	if err := errors.Join(checkName(h), checkDevice(h)); err != nil {
		return err
	}
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

	sparse := h.Typeflag == tar.TypeGNUSparse
	for key := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, sparseRecord)
		name, ok := strings.CutPrefix(key, XattrRecord)
		if ok && steersOverlay(name) {
			return fmt.Errorf("its archive has a member %q with the attribute %s, by which an overlay file system would show other files than the layers have\n%s",
				h.Name, name, distrust)
		}
	}

	if sparse {
		return fmt.Errorf("its archive has a member %q, %s long, whose holes are left out in GNU tar's way: from the store it would come as another archive, "+
			"with zeros, and could be neither pushed nor saved\nhint: make the image's layer without tar's --sparse", h.Name,
			disk.FormatSize(h.Size))
	}

	return nil
}

// distrust is the advice about members by which an overlay would show other files than the layers have.
const distrust = "hint: no tool for building images writes that into a layer; don't trust the image"

// checkDevice refuses a device that would be another one, or a mark of overlay's.
func checkDevice(h *tar.Header) error {
	if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
		return fmt.Errorf("its archive has a member %q that is a device 0:0, by which an overlay file system would hide files of the layers below\n%s", h.Name, distrust)
	}

	_, err := fsys.Device(h.Devmajor, h.Devminor)
	if err != nil && (h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock) {
		return fmt.Errorf("its archive has a member %q that is no device of Linux: %w\n%s", h.Name, err, distrust)
	}
	return nil
}

// maxName is how many bytes a path may have for the kernel. Longer ones, of any number of directories, would take much
// time to be looked at before they are found to be impossible.
const maxName = unix.PathMax - 1

// checkName refuses a member whose names are too long.
func checkName(h *tar.Header) error {
	for _, name := range []string{h.Name, h.Linkname} {
		if len(name) > maxName {
			return fmt.Errorf("its archive has a member with a path of %d bytes, %q...: Linux has them up to %d bytes",
				len(name), name[:40], maxName)
		}
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
