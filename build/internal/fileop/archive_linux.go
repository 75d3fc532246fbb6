package fileop

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// drainSize is how many bytes are read after an archive's end, at most, to reach the checksum of its compression.
const drainSize = 1 << 20

// tryUnpack unpacks a file into the destination if it is an archive; false means that it isn't.
func (c *copier) tryUnpack(t *target, e source.Entry) (bool, error) {
	fd, err := source.OpenRegular(e.Dir, e.Name, nil)
	if err != nil {
		return false, fmt.Errorf("open /%s: %w", e.Path(), err)
	}

	f := os.NewFile(uintptr(fd), e.Path())
	defer func() { _ = f.Close() }()
	if !isArchive(io.NewSectionReader(f, 0, math.MaxInt64)) {
		return false, nil
	}

	d, err := t.directory(defaultDirMode)
	if err != nil {
		return true, err
	}

	plain, err := decompress.New(f)
	if err != nil {
		return true, fmt.Errorf("unpack /%s: %w", e.Path(), err)
	}
	defer plain.Close()
	u := &unpacker{c: c, root: d}
	err = u.all(plain)
	err = errors.Join(err, u.leave(err == nil))
	if err != nil {
		return true, fmt.Errorf("unpack /%s: %w", e.Path(), err)
	}

	return true, nil
}

// Member types of GNU tar: the archive's label, and a directory with a list of its files.
const (
	typeVolume  = 'V'
	typeDumpDir = 'D'
)

// unpacker unpacks one archive below a directory, as if that were the root of everything: symlinks that are there, and
// those that the archive itself brings, are followed inside it.
type unpacker struct {
	c    *copier
	root *dir
	// at is the directory that the last member was put into, name its path in the archive, and trail the directories that
	// were opened to reach it.
	at    *dir
	name  string
	trail []*dir
	buf   []byte
	// sparse is the sum in bytes of the sizes of sparse files, holes included.
	sparse int64
	// disarmed, if not nil, removes set-ID bits and capabilities from files and records their names.
	disarmed *Disarmed
}

func (u *unpacker) all(r io.Reader) error {
	members := tar.NewReader(r)
	for {
		if err := u.c.cause(); err != nil {
			return err
		}
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return drain(r)
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := u.member(h, members); err != nil {
			return fmt.Errorf("member %q: %w", h.Name, err)
		}
	}
}

// drain reads on until the compression's checksum is checked. It ignores data that follows the archive.
func drain(r io.Reader) error {
	_, err := io.CopyN(io.Discard, r, drainSize)
	if decompress.IsDamage(err) {
		return fmt.Errorf("read archive: %w", err)
	}
	return nil
}

// memberName cleans a member's name. It refuses a name that leads out of the destination, or that a layer would take
// for a deletion.
func (u *unpacker) memberName(name string) (string, error) {
	if len(name) >= unix.PathMax {
		return "", fmt.Errorf("%w: %w", ErrUnsafeArchive, unix.ENAMETOOLONG)
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return "", fmt.Errorf("%w: %q leads out of the destination", ErrUnsafeArchive, name)
		}
		if u.c.tree.plain {
			continue
		}
		if err := reserved(part); err != nil {
			return "", fmt.Errorf("%w: %w", ErrUnsafeArchive, err)
		}
	}

	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

// member unpacks one member.
func (u *unpacker) member(h *tar.Header, data io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader, typeVolume:
		return nil
	case typeDumpDir:
		h.Typeflag = tar.TypeDir
	}

	name, err := u.memberName(h.Name)
	if err != nil {
		return err
	}

	a, err := u.attrs(h)
	if err != nil {
		return err
	}
	if name == "" {
		// The member is the destination itself, which keeps its attributes, as it does when a directory is copied.
		return nil
	}
	if u.disarmed != nil && h.Typeflag != tar.TypeLink { // a link's attributes are those of the file, which came before
		u.disarmed.take(name, a)
	}

	d, err := u.directory(path.Dir("/" + name)[1:])
	if err != nil {
		return err
	}
	if err := u.c.tree.ensure(d); err != nil {
		return err
	}

	return u.make(d, path.Base(name), memberFile{h: h, attrs: a, data: data})
}

// memberFile is a member of the archive, with the attributes that its file gets.
type memberFile struct {
	h     *tar.Header
	attrs *attrs
	data  io.Reader
}

// make puts a member into d.
func (u *unpacker) make(d *dir, name string, m memberFile) error {
	if m.h.Typeflag == tar.TypeDir {
		return u.directoryMember(d, name, m.attrs)
	}
	if isDevice := m.h.Typeflag == tar.TypeChar || m.h.Typeflag == tar.TypeBlock; isDevice && u.c.tree.plain {
		u.c.done.devices.Add(1)
		return nil
	}

	u.c.done.moved(1, 0)
	switch m.h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.regular(d, name, m)
	case tar.TypeLink:
		return u.hardLink(d, name, m.h.Linkname)
	case tar.TypeSymlink:
		if err := u.clear(d, name); err != nil {
			return err
		}
		if err := u.c.tree.place(d, name, func() error { return unix.Symlinkat(m.h.Linkname, d.layer, name) }); err != nil {
			return err
		}
		return u.c.tree.set.named(d, name, m.attrs)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(d, name, m)
	default:
		return fmt.Errorf("unknown type %q", m.h.Typeflag)
	}
}

// node makes a FIFO or a device.
func (u *unpacker) node(d *dir, name string, m memberFile) error {
	if err := u.clear(d, name); err != nil {
		return err
	}
	n, err := nodeOf(m)
	if err != nil {
		return err
	}
	err = u.c.tree.makeNode(d, name, n)
	if errors.Is(err, unix.EPERM) && m.h.Typeflag != tar.TypeFifo {
		// Root of a user namespace can't make devices. Archives of root file systems usually have some, but no image needs
		// them: a container's /dev is mounted over them.
		u.c.done.devices.Add(1)
		return nil
	}
	return err
}

func nodeOf(m memberFile) (n node, err error) {
	n = node{attrs: m.attrs, kind: unix.S_IFIFO}
	if m.h.Typeflag == tar.TypeFifo {
		return n, nil
	}
	n.kind = unix.S_IFBLK
	if m.h.Typeflag == tar.TypeChar {
		n.kind = unix.S_IFCHR
	}
	if n.device, err = fsys.Device(m.h.Devmajor, m.h.Devminor); err != nil {
		return n, fmt.Errorf("%w: %w", ErrUnsafeArchive, err)
	}
	return n, nil
}

// attrs gives the attributes of a member: those of its header, with the owner that --chown gives, if any.
func (u *unpacker) attrs(h *tar.Header) (*attrs, error) {
	a := &attrs{mode: uint32(h.Mode) & 0o7777}
	switch {
	case u.c.rules.chown != nil:
		a.uid, a.gid = u.c.rules.chown.UID, u.c.rules.chown.GID
	case h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32:
		return nil, fmt.Errorf("%w: owner %d:%d is out of range", ErrUnsafeArchive, h.Uid, h.Gid)
	default:
		a.uid, a.gid = uint32(h.Uid), uint32(h.Gid)
	}
	when := h.ModTime
	if when.Before(time.Unix(0, 0)) || when.Unix() > math.MaxUint32*2 {
		// No file system can hold this time: the file gets 1970.
		when = time.Unix(0, 0)
	}
	a.mtime = unix.Timespec{Sec: when.Unix(), Nsec: int64(when.Nanosecond())}
	const prefix = "SCHILY.xattr."
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, prefix); ok && source.CopiedXattr(name, !u.c.tree.plain) {
			a.xattrs = append(a.xattrs, source.Xattr{Name: name, Value: []byte(value)})
		}
	}
	return a, nil
}

// isArchive reports whether a file is a tar archive, compressed or not: whether it begins with a valid header, whatever
// it is called.
func isArchive(r io.Reader) bool {
	plain, err := decompress.New(r)
	if err != nil {
		return false
	}
	defer plain.Close()
	_, err = tar.NewReader(plain).Next()
	return err == nil
}
