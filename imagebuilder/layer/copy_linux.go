package layer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// copied is a copy that Merge made of a file which had as many links as its file system allows.
type copied struct {
	path string // path of the copy in the result, relative to its root
	id   fileID // device and inode of the copy
}

// copy makes a name in dst: a link to the copy that was made for another name of the same file, or else a new copy.
func (m *merger) copy(ctx context.Context, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(m.src.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if c, ok := m.copies[idOf(&st)]; ok {
		done, err := m.linkCopy(c, name)
		if done || err != nil {
			return err
		}
	}
	if err := m.copyNew(ctx, name, &st); err != nil {
		return err
	}
	var made unix.Stat_t
	if err := unix.Fstatat(m.dst.fd(), name, &made, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	m.copies[idOf(&st)] = copied{path: m.full(name), id: idOf(&made)}
	return nil
}

// linkCopy links an earlier copy to a name. done is false if an upper layer has removed or replaced that copy, or if
// the copy too has as many links as the file system allows.
func (m *merger) linkCopy(c copied, name string) (done bool, err error) {
	dir, err := unix.FcntlInt(uintptr(m.dst.root()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unix.Close(dir)) }()
	rest := c.path
	for {
		first, below, more := strings.Cut(rest, "/")
		if !more {
			break
		}
		next, err := fsys.OpenAt(dir, first, dirFlags)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := unix.Close(dir); err != nil {
			return false, err
		}
		dir, rest = next, below
	}

	var st unix.Stat_t
	err = unix.Fstatat(dir, rest, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && idOf(&st) != c.id {
		return false, nil
	}
	if err != nil {
		return false, err
	}

	err = unix.Linkat(dir, rest, m.dst.fd(), name, 0)
	if errors.Is(err, unix.EMLINK) {
		return false, nil
	}
	return err == nil, err
}

// copyNew makes a file in dst like the one in src.
func (m *merger) copyNew(ctx context.Context, name string, st *unix.Stat_t) (err error) {
	src, dst := m.src.fd(), m.dst.fd()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return m.copyFile(ctx, name, st)
	case unix.S_IFLNK:
		var target string
		if target, err = fsys.ReadLinkAt(src, name); err == nil {
			err = unix.Symlinkat(target, dst, name)
		}
	default:
		err = unix.Mknodat(dst, name, st.Mode, int(st.Rdev))
	}

	if err != nil {
		return err
	}
	made, err := openNode(dst, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(made.fd)) }()
	if err := made.chown(st.Uid, st.Gid); err != nil {
		return err
	}

	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		// mknod left out of the mode the bits that are set in the umask.
		if err := made.chmod(st.Mode & permMask); err != nil {
			return err
		}
	}

	return made.setTimes(st.Atim, st.Mtim)
}

func (m *merger) copyFile(ctx context.Context, name string, st *unix.Stat_t) (err error) {
	in, err := fsys.OpenAt(m.src.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(in)) }()
	out, err := unix.Openat(m.dst.fd(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(out)) }()
	if _, err := m.data.Copy(ctx, out, in, st); err != nil {
		return err
	}
	a, err := m.xattrs.all(xattrFile{fd: in}, m.overlay)
	if err != nil {
		return err
	}
	return m.xattrs.apply(out, st, a.stored, m.overlay)
}

// all returns every extended attribute of a file but overlay's own, and whether overlay marks it as opaque.
func (r *xattrReader) all(f xattrFile, overlay string) (attrs, error) {
	var a attrs
	err := r.names(f, func(name string) error {
		if strings.HasPrefix(name, overlay) {
			return r.mark(f, name, name[len(overlay):], &a)
		}
		value, ok, err := r.value(f, name)
		if ok {
			a.stored = append(a.stored, xattr{name, value})
		}
		return err
	})
	return a, err
}

// apply gives an open file or directory the owner, mode, attributes and times of another.
func (r *xattrReader) apply(fd int, st *unix.Stat_t, want []xattr, overlay string) error {
	keep := map[string]bool{}
	for _, x := range want {
		keep[x.name] = true
	}

	err := r.names(xattrFile{fd: fd}, func(name string) error {
		if keep[name] || strings.HasPrefix(name, overlay) {
			return nil
		}
		return ignoreForeign(name, unix.Fremovexattr(fd, name))
	})
	if err != nil {
		return err
	}

	// The owner first: changing it clears set-ID bits and file capabilities.
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	if err := unix.Fchmod(fd, st.Mode&permMask); err != nil {
		return fmt.Errorf("change mode: %w", err)
	}

	for _, x := range want {
		if err := ignoreForeign(x.name, unix.Fsetxattr(fd, x.name, []byte(x.value), 0)); err != nil {
			return fmt.Errorf("set extended attribute %q: %w", x.name, err)
		}
	}

	if err := unix.UtimesNanoAt(fd, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("change times: %w", err)
	}
	return nil
}

// ignoreForeign drops the error of setting an attribute that only the initial namespace or a security module may set:
// such attributes belong to the machine, not to the layer.
func ignoreForeign(name string, err error) error {
	if (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTSUP)) && !isStored(name) {
		return nil
	}
	return err
}
