package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// dir emits the entry of a directory, then calls below to emit the entries of its contents.
func (r *reader) dir(ctx context.Context, name string, below belowFunc) error {
	var st unix.Stat_t
	if err := r.dirs.Push(name, &st); err != nil {
		return fmt.Errorf("open %q: %w", r.full(name), err)
	}
	parent := len(r.path)
	r.path = append(append(r.path, name...), '/')
	a, err := r.xattrs.Read(tree.Node{FD: r.dirs.FD()}, r.overlay)
	if err != nil {
		return fmt.Errorf("read %q: %w", r.path, err)
	}
	if err := r.emit(ctx, &st, entry{name: r.path, typ: typeDir, xattrs: a.Stored}, nil); err != nil {
		return err
	}
	if err := below(ctx, a.Opaque); err != nil {
		return err
	}
	if err := r.dirs.Pop(); err != nil {
		return fmt.Errorf("leave %q: %w", r.path, err)
	}
	r.path = r.path[:parent]
	return nil
}

// file emits a regular file. Its attributes are read from the open file, so that header and data are of the same file.
func (r *reader) file(ctx context.Context, name string) (err error) {
	// O_NONBLOCK: should the name have become a FIFO meanwhile, opening it must not wait for a writer.
	fd, err := fsys.OpenAt(r.dirs.FD(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open %q: %w", r.full(name), err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %q: %w", r.full(name), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("read %q: %w", r.full(name), ErrChanged)
	}
	a, err := r.xattrs.Read(tree.Node{FD: fd}, r.overlay)
	if err != nil {
		return fmt.Errorf("read %q: %w", r.full(name), err)
	}
	e := entry{typ: typeReg, size: st.Size, xattrs: a.Stored}
	if r.o.Sums != nil && st.Size >= LargeFileSize {
		e.file = &largeFile{dataID{tree.ID(&st), st.Size, st.Mtim}, st.Nlink > 1}
	}
	return r.leaf(ctx, name, &st, e, func(ctx context.Context) error { return r.content(ctx, fd, &st) })
}

// special emits a file without content: a symbolic link, a FIFO or a device.
func (r *reader) special(ctx context.Context, name string, st *unix.Stat_t) error {
	var e entry
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := fsys.ReadLinkAt(r.dirs.FD(), name)
		if err != nil {
			return fmt.Errorf("read link %q: %w", r.full(name), err)
		}
		e.typ, e.link = typeSymlink, target
	case unix.S_IFIFO:
		e.typ = typeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		e.typ = typeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.typ = typeBlock
		}
		rdev := uint64(st.Rdev) //nolint:unconvert // 32 bits on some architectures
		e.major, e.minor = unix.Major(rdev), unix.Minor(rdev)
	default:
		return fmt.Errorf("read %q: unknown file type %#o", r.full(name), st.Mode&unix.S_IFMT)
	}

	a, err := r.xattrs.Read(tree.Node{FD: r.dirs.FD(), Name: name}, r.overlay)
	if err != nil {
		return fmt.Errorf("read %q: %w", r.full(name), err)
	}
	e.xattrs = a.Stored
	return r.leaf(ctx, name, st, e, nil)
}

// leaf emits a file that isn't a directory: with its data, or as a hard link if the stream has another name of it
// already.
func (r *reader) leaf(ctx context.Context, name string, st *unix.Stat_t, e entry,
	data func(context.Context) error) error {
	parent := len(r.path)
	r.path = append(r.path, name...)
	defer func() { r.path = r.path[:parent] }()
	e.name = r.path
	if st.Nlink > 1 {
		id := tree.ID(st)
		first, seen := r.links[id]
		switch {
		case !seen:
			r.links[id] = hardLink{name: string(r.path),
				left: uint64(st.Nlink) - 1} //nolint:unconvert // 32 bits on some architectures
		case first.left <= 1:
			delete(r.links, id)
		default:
			r.links[id] = hardLink{name: first.name, left: first.left - 1}
		}
		if seen {
			// The link's entry repeats the extended attributes: unpacking it sets the owner again, upon which the kernel drops
			// the file's capabilities.
			e.typ, e.link, e.size, e.file, data = typeLink, first.name, 0, nil, nil
			e.major, e.minor = 0, 0
		}
	}

	return r.emit(ctx, st, e, data)
}

// emit sets the mode, owner and time of an entry from st and adds it to the stream, followed by its data.
func (r *reader) emit(ctx context.Context, st *unix.Stat_t, e entry, data func(context.Context) error) error {
	e.mode = st.Mode & tree.PermMask
	e.uid, e.gid = st.Uid, st.Gid
	if r.o.Owners != nil {
		var err error
		if e.uid, e.gid, err = r.o.Owners(st.Uid, st.Gid); err != nil {
			return fmt.Errorf("translate owner of %q: %w", e.name, err)
		}
	}

	for i, x := range e.xattrs {
		if x.Name != tree.CapabilityXattr {
			continue
		}
		value, err := tree.Capability(x.Value, func(uid uint32) (uint32, error) { return r.containerUID(uid, st.Gid) })
		if err != nil {
			return fmt.Errorf("read %q: %w", e.name, err)
		}
		e.xattrs[i].Value = value
	}

	e.mtime = r.o.Date.Seconds(int64(st.Mtim.Sec)) //nolint:unconvert // 32 bits on some architectures

	r.uids.add(e.uid)
	r.gids.add(e.gid)
	r.disk += usage.Share(st)
	return r.put(ctx, &e, data)
}

// containerUID translates a user ID alone. Options.Owners wants a group too, so gid must be one that it can translate.
func (r *reader) containerUID(uid, gid uint32) (uint32, error) {
	if r.o.Owners == nil {
		return uid, nil
	}
	uid, _, err := r.o.Owners(uid, gid)
	return uid, err
}

func (r *reader) put(ctx context.Context, e *entry, data func(context.Context) error) error {
	r.empty = false
	if err := r.out.begin(ctx, e); err != nil {
		return fmt.Errorf("write %q: %w", e.name, err)
	}
	if e.size == 0 {
		return nil
	}
	if err := data(ctx); err != nil {
		return fmt.Errorf("read %q: %w", e.name, err)
	}
	return r.out.end(ctx, e.size)
}

// leastHole is how many bytes of holes a file must have before content looks for them, instead of reading their zeros.
const leastHole = 1 << 20

// content copies the data of an open file into the stream; st describes that file.
func (r *reader) content(ctx context.Context, fd int, st *unix.Stat_t) error {
	const unit = 512 // bytes in a block of st_blocks, on every file system
	holes := st.Size - st.Blocks*unit
	if holes < leastHole {
		return r.data(ctx, fd, st.Size, 1)
	}
	if holes >= HugeHoles && r.o.Sparse != nil {
		r.o.Sparse(string(r.path), st.Size, st.Blocks*unit)
	}

	for at := int64(0); at < st.Size; {
		from, to, err := fsys.NextData(fd, at, st.Size)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := r.out.hole(ctx, from-at); err != nil {
			return err
		}
		if at = to; from == to {
			break
		}
		if _, err := unix.Seek(fd, from, unix.SEEK_SET); err != nil {
			return err
		}
		if err := r.data(ctx, fd, to-from, 0); err != nil {
			return err
		}
	}

	var after unix.Stat_t
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if after.Size != st.Size || after.Mtim != st.Mtim {
		return ErrChanged
	}

	return nil
}

// data copies the next size bytes of an open file into the stream. more is how many bytes it tries to read beyond them:
// 1 at the end of the file, where a byte too many shows that the file has grown, otherwise 0.
func (r *reader) data(ctx context.Context, fd int, size int64, more int) error {
	for left := size; left > 0; {
		buf, err := r.out.reserve(ctx, left)
		if err != nil {
			return err
		}
		if room := len(buf) - 1; int64(room) < left || more == 0 {
			buf = buf[:room]
		}
		n, err := fsys.Retry(func() (int, error) { return unix.Read(fd, buf) })
		switch {
		case err != nil:
			return err
		case n == 0 || int64(n) > left:
			return ErrChanged
		}
		r.out.commit(n)
		left -= int64(n)
	}
	return nil
}

// whiteout emits the empty file .wh.NAME, which says that NAME was deleted from the directory being visited.
func (r *reader) whiteout(ctx context.Context, name string) error {
	return r.mark(ctx, tree.WhiteoutPrefix+name)
}

// mark emits an empty file of the given name.
func (r *reader) mark(ctx context.Context, name string) error {
	parent := len(r.path)
	r.path = append(r.path, name...)
	err := r.put(ctx, &entry{name: r.path, typ: typeReg}, nil)
	r.path = r.path[:parent]
	return err
}
