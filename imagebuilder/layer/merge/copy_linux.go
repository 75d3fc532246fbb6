package merge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// copied is a copy that Layers made of a file which had as many links as its file system allows.
type copied struct {
	path string      // path of the copy in the result, relative to its root
	id   tree.FileID // device and inode of the copy
}

// copy makes a name in dst: a link to the copy that was made for another name of the same file, or else a new copy.
func (m *merger) copy(ctx context.Context, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(m.src.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if c, ok := m.copies[tree.ID(&st)]; ok {
		done, err := m.linkCopy(c, name)
		if done || err != nil {
			return err
		}
	}
	if err := m.copyNew(ctx, name, &st); err != nil {
		return err
	}
	var made unix.Stat_t
	if err := unix.Fstatat(m.dst.FD(), name, &made, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	m.copies[tree.ID(&st)] = copied{path: m.full(name), id: tree.ID(&made)}
	return nil
}

// linkCopy links an earlier copy to a name. done is false if an upper layer has removed or replaced that copy, or if
// the copy too has as many links as the file system allows.
func (m *merger) linkCopy(c copied, name string) (done bool, err error) {
	dir, err := unix.FcntlInt(uintptr(m.dst.Root()), unix.F_DUPFD_CLOEXEC, 0)
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
		next, err := fsys.OpenAt(dir, first, tree.DirFlags)
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
	if errors.Is(err, unix.ENOENT) || err == nil && tree.ID(&st) != c.id {
		return false, nil
	}
	if err != nil {
		return false, err
	}

	err = unix.Linkat(dir, rest, m.dst.FD(), name, 0)
	if errors.Is(err, unix.EMLINK) {
		return false, nil
	}
	return err == nil, err
}

// copyNew makes a file in dst like the one in src.
func (m *merger) copyNew(ctx context.Context, name string, st *unix.Stat_t) (err error) {
	src, dst := m.src.FD(), m.dst.FD()
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
	made, err := tree.OpenNode(dst, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(made.FD)) }()
	if err := made.Chown(st.Uid, st.Gid); err != nil {
		return err
	}

	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		// mknod left out of the mode the bits that are set in the umask.
		if err := made.Chmod(st.Mode & tree.PermMask); err != nil {
			return err
		}
	}

	return made.SetTimes(st.Atim, st.Mtim)
}

func (m *merger) copyFile(ctx context.Context, name string, st *unix.Stat_t) (err error) {
	in, err := fsys.OpenAt(m.src.FD(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(in)) }()
	out, err := unix.Openat(m.dst.FD(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(out)) }()
	if _, err := m.data.Copy(ctx, out, in, st); err != nil {
		return err
	}
	a, err := m.xattrs.All(tree.Node{FD: in}, m.overlay)
	if err != nil {
		return err
	}
	return apply(&m.xattrs, out, st, a.Stored, m.overlay)
}

// apply gives an open file or directory the owner, mode, attributes and times of another.
func apply(r *tree.Xattrs, fd int, st *unix.Stat_t, want []tree.Xattr, overlay string) error {
	keep := map[string]bool{}
	for _, x := range want {
		keep[x.Name] = true
	}

	err := r.Names(tree.Node{FD: fd}, func(name string) error {
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
	if err := unix.Fchmod(fd, st.Mode&tree.PermMask); err != nil {
		return fmt.Errorf("change mode: %w", err)
	}

	for _, x := range want {
		if err := ignoreForeign(x.Name, unix.Fsetxattr(fd, x.Name, []byte(x.Value), 0)); err != nil {
			return fmt.Errorf("set extended attribute %q: %w", x.Name, err)
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
	if (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTSUP)) &&
		!tree.IsStored(name) {
		return nil
	}
	return err
}
