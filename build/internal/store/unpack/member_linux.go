package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// maxLinks is how many hard links wait for the files that they name.
const maxLinks = 4096

// link is a hard link that is made when the file that it leads to is written.
type link struct {
	path, target string
	attr         attributes
}

// make makes what a member is.
func (u *unpacker) make(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := MemberPath(h.Name)
	attr := attributesOf(h, u.Nested)
	if name == "/" {
		return u.rootMember(h, attr)
	}
	parent, base := path.Split(name)
	d, err := u.open(path.Clean(parent))
	if err != nil {
		return err
	}
	if hidden, ok := strings.CutPrefix(base, WhiteoutPrefix); ok {
		return u.whiteout(d, base, hidden, attr)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.directory(d, name, attr)
	case tar.TypeReg:
		err = u.regular(d, base, fileOf{h.Size, body, attr})
	case tar.TypeSymlink:
		if err = unix.Symlinkat(h.Linkname, d.fd, base); err == nil {
			err = attr.setLink(d, base, h)
		}
	case tar.TypeLink:
		if u.links = append(u.links, link{name, MemberPath(h.Linkname), attr}); len(u.links) >= maxLinks {
			err = u.linkAll()
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = u.node(d, base, h, attr)
	default:
		err = ErrStrange
	}
	return at(err, h.Name)
}

// rootMember notes the attributes of the root directory.
func (u *unpacker) rootMember(h *tar.Header, attr attributes) error {
	if h.Typeflag != tar.TypeDir {
		return ErrStrange
	}
	u.res.Root = true
	u.dirs = append(u.dirs, directory{"/", attr})
	return nil
}

// open opens the directory of a member, and makes it if the archive has it nowhere.
func (u *unpacker) open(name string) (*dir, error) {
	if u.parent != nil && u.parentName == name {
		return u.parent, nil
	}
	fd, err := openParent(u.root, name)
	if errors.Is(err, unix.ENOENT) {
		fd, err = u.imply(name)
	}
	if err != nil {
		return nil, at(err, name)
	}
	if u.parent != nil {
		u.parent.release()
	}
	u.parent, u.parentName = newDir(fd), name
	return u.parent, nil
}

// imply makes a directory that members lie in, and those above it, and opens it. It goes down step by step: a path from
// the root for each of thousands of directories would be walked thousands of times.
func (u *unpacker) imply(name string) (int, error) {
	fd, err := openParent(u.root, "/")
	if err != nil {
		return -1, err
	}
	length := 0
	for part := range strings.SplitSeq(strings.TrimPrefix(name, "/"), "/") {
		length += len("/") + len(part)
		err := unix.Mkdirat(fd, part, 0o700)
		if err == nil {
			err = unix.Fchmodat(fd, part, 0o755, 0) // whatever the umask is
			u.implied[name[:length]] = true
		}
		below := -1
		if err == nil || errors.Is(err, unix.EEXIST) {
			below, err = openParent(fd, part)
		}
		_ = unix.Close(fd) // an O_PATH descriptor has nothing to write
		if err != nil {
			return -1, err
		}
		fd = below
	}
	return fd, nil
}

// directory makes a directory, with its attributes to come.
func (u *unpacker) directory(d *dir, name string, attr attributes) error {
	err := unix.Mkdirat(d.fd, path.Base(name), 0o700)
	if errors.Is(err, unix.EEXIST) && u.implied[name] {
		err = nil
	}
	u.dirs = append(u.dirs, directory{name, attr})
	return err
}

// fileOf is what a regular file becomes.
type fileOf struct {
	size int64
	body io.Reader
	attr attributes
}

// regular makes a regular file: a small one is handed to a writer.
func (u *unpacker) regular(d *dir, name string, f fileOf) error {
	if f.size > smallFile {
		return u.large(d, name, f)
	}
	if err := u.files.failed(); err != nil {
		return err
	}
	body, err := u.Writers.body(f.body, int(f.size))
	if err != nil {
		return err
	}
	u.files.under.Add(1)
	u.Writers.jobs <- job{&u.files, d.hold(), name, body, f.attr}
	return nil
}

// large writes a file while it comes.
func (u *unpacker) large(d *dir, name string, f fileOf) (err error) {
	fd, err := d.create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if u.buf == nil {
		u.buf = make([]byte, pieceSize)
	}
	for left := f.size; left > 0; {
		n, err := io.ReadFull(f.body, u.buf[:min(left, pieceSize)])
		if err != nil {
			return err
		}
		if err := fsys.WriteAll(fd, u.buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	// The disk begins with it while the rest comes; the layer isn't used before all is on the disk.
	_ = unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	return f.attr.set(fd)
}

// node makes a device or a FIFO. Root of a user namespace can't make devices, and no image needs them: a container's
// /dev is mounted over them.
func (u *unpacker) node(d *dir, name string, h *tar.Header, attr attributes) error {
	kind := uint32(unix.S_IFIFO)
	switch h.Typeflag {
	case tar.TypeChar:
		kind = unix.S_IFCHR
	case tar.TypeBlock:
		kind = unix.S_IFBLK
	}
	device := 0
	if kind != unix.S_IFIFO {
		if u.Nested {
			return nil
		}
		var err error
		if device, err = fsys.Device(h.Devmajor, h.Devminor); err != nil {
			return err
		}
	}
	if err := unix.Mknodat(d.fd, name, kind|0o600, device); err != nil {
		return err
	}
	return attr.setAt(d, name, false)
}

// whiteout makes the mark of overlay for a name that is hidden, or for a directory that hides all below it.
func (u *unpacker) whiteout(d *dir, name, hidden string, attr attributes) error {
	if name == OpaqueName {
		fd, err := fsys.OpenPlain(u.root, relative(u.parentName), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = unix.Fsetxattr(fd, u.Marks+"opaque", []byte("y"), 0)
		return errors.Join(err, unix.Close(fd))
	}
	if hidden == "" || hidden == "." || hidden == ".." || strings.HasPrefix(hidden, WhiteoutPrefix) {
		return ErrStrange
	}
	if err := unix.Mknodat(d.fd, hidden, unix.S_IFCHR, 0); err != nil {
		return err
	}
	if err := unix.Fchownat(d.fd, hidden, int(attr.uid), int(attr.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ownerError(err, &attr)
	}
	return nil
}

// linkAll makes the hard links that wait.
func (u *unpacker) linkAll() error {
	if err := u.files.wait(); err != nil {
		return err
	}
	for _, l := range u.links {
		if err := u.link(l); err != nil {
			return at(err, l.path)
		}
	}
	u.links = u.links[:0]
	return nil
}

// link makes one. What it says of the file holds for all of the file's names.
func (u *unpacker) link(l link) error {
	from, err := openParent(u.root, path.Dir(l.target))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }() // nothing is written through it
	to, err := openParent(u.root, path.Dir(l.path))
	if err != nil {
		return err
	}
	d := newDir(to)
	defer d.release()
	if err := unix.Linkat(from, path.Base(l.target), to, path.Base(l.path), 0); err != nil {
		return err
	}
	st, err := fsys.LstatAt(to, path.Base(l.path))
	if err != nil {
		return err
	}
	symbolic := st.Mode&unix.S_IFMT == unix.S_IFLNK
	if symbolic {
		l.attr.times = [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	}
	return l.attr.setAt(d, path.Base(l.path), symbolic)
}

// finish makes what comes last: hard links, and the attributes of directories.
func (u *unpacker) finish() error {
	if err := u.linkAll(); err != nil {
		return err
	}
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		fd, err := fsys.OpenPlain(u.root, relative(d.path), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return at(err, d.path)
		}
		if err := errors.Join(d.attr.set(fd), unix.Close(fd)); err != nil {
			return at(err, d.path)
		}
	}
	return nil
}

// setLink gives a symbolic link its attributes; it may have times before 1970, as the library has it.
func (a *attributes) setLink(d *dir, name string, h *tar.Header) error {
	l := *a
	l.times[0], l.times[1] = linkTime(latest(h.AccessTime, h.ModTime)), linkTime(h.ModTime)
	if err := l.setAt(d, name, true); err != nil {
		return fmt.Errorf("symbolic link: %w", err)
	}
	return nil
}
