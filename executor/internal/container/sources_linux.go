package container

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns"
)

// open makes the detached mount that m asks for; a memory file system is made later, by openTmpfs, when plan knows what
// it covers.
func (c *Container) open(m *step.Mount) (Attachment, error) {
	target, err := CleanTarget(m.Target)
	if err != nil {
		return Attachment{}, err
	}
	a := Attachment{Point: inroot.Point{Name: target, Dir: true}, Bind: m}
	switch m.Kind {
	case step.Tmpfs:
		return a, nil
	case step.Bind:
		err = c.openBind(m, &a)
	default:
		err = fmt.Errorf("unknown kind %d", m.Kind)
	}
	if err != nil {
		return Attachment{}, err
	}
	c.Own = append(c.Own, a.Mount)
	if a.Dir {
		a.view = a.Mount
	}
	return a, nil
}

// openTmpfs makes the memory file system of mount i, once all mounts below it are made. covered is the mode of the
// directory that it covers.
func (c *Container) openTmpfs(i int, covered uint32) (err error) {
	a := &c.Mounts[i]
	mode := a.Bind.Mode
	switch {
	case mode == 0 && covered == 0:
		mode = 0o1777
	case mode == 0:
		mode = covered & 0o7777
	}
	attr := userAttr
	if a.Bind.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	o := overlay.TmpfsOptions{Size: a.Bind.SizeBytes, Mode: mode, UID: c.owner.UID, GID: c.owner.GID, Attr: attr}
	if a.Mount, err = overlay.Tmpfs(o); err != nil {
		return err
	}
	c.Own = append(c.Own, a.Mount)
	a.view = a.Mount
	return nil
}

// openBind sets a.Mount to a mount of m's source, or of a stand-in in m.Scratch that takes the step's writes.
func (c *Container) openBind(m *step.Mount, a *Attachment) error {
	if m.Source == nil {
		return errors.New("no source")
	}
	src := m.Source
	if m.Subpath != "" {
		f, err := inroot.Open(m.Source, m.Subpath, unix.O_PATH)
		if err != nil {
			return fmt.Errorf("source: %w", err)
		}
		defer f.Close()
		src = f
	}

	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return fmt.Errorf("source: %w", err)
	}

	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFREG, unix.S_IFSOCK:
		a.Dir = false
	default:
		return fmt.Errorf("source %s is neither a directory nor a regular file", m.Subpath)
	}

	var err error
	switch {
	case m.ReadOnly || m.Scratch == nil:
		attr := userAttr
		if m.ReadOnly {
			attr |= unix.MOUNT_ATTR_RDONLY
		}
		a.Mount, err = overlay.Bind(src, overlay.BindOptions{Attr: attr, UserNS: c.mapFor(m)})
	case a.Dir:
		a.Mount, err = c.openDiscard(m, src, st)
	case st.Mode&unix.S_IFMT == unix.S_IFREG:
		a.Mount, err = c.openCopy(m, src, st)
	default:
		err = errors.New("source is a socket: it can't be copied for writing")
	}

	return err
}

// mapFor gives the user namespace through whose map m's source is mounted; nil: it isn't ID-mapped.
func (c *Container) mapFor(m *step.Mount) *os.File {
	switch {
	case m.UserNS != nil:
		return m.UserNS
	case m.IDMapped:
		return nil
	}
	return c.diskNS()
}

// mappingFor gives the mapping through which the files of the mount a are shown; nil: with their owners on disk.
func (c *Container) mappingFor(a *Attachment) *userns.Mapping {
	if a.Bind.Kind == step.Tmpfs {
		return nil
	}
	return c.Step.Mapping
}

// openDiscard mounts the directory src so that writes to it go to m.Scratch.
func (c *Container) openDiscard(m *step.Mount, src *os.File, st unix.Stat_t) (*os.File, error) {
	upper, err := inroot.EnsureDir(m.Scratch, "upper")
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	// An overlay shows the attributes of its upper directory, so that one gets those of the source.
	path := fmt.Sprintf("/proc/self/fd/%d", upper.Fd())
	owner := c.onDisk(m, st)
	if err := os.Chown(path, int(owner.UID), int(owner.GID)); err != nil {
		return nil, fmt.Errorf("own scratch directory: %w", err)
	}
	if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
		return nil, fmt.Errorf("set mode of scratch directory: %w", err)
	}
	work, err := inroot.EnsureDir(m.Scratch, "work")
	if err != nil {
		return nil, err
	}
	defer work.Close()
	return overlay.Mount(overlay.Options{
		Lower: []*os.File{src}, Upper: upper, Work: work, UserXattr: c.userXattr(), Volatile: true, Attr: userAttr,
		IDMap: c.diskMap(), UserNS: c.diskNS(), LowerMapped: m.IDMapped, LowerNS: m.UserNS,
	})
}

// onDisk gives the owner that a scratch copy of a file in m's source must have on disk; st describes the file.
func (c *Container) onDisk(m *step.Mount, st unix.Stat_t) IDs {
	if m.UserNS != nil {
		return IDs{}
	}
	if mapping := c.diskMap(); mapping != nil && m.IDMapped {
		uid, uidErr := mapping.UIDs.ToContainer(st.Uid)
		gid, gidErr := mapping.GIDs.ToContainer(st.Gid)
		if uidErr == nil && gidErr == nil {
			return IDs{uid, gid}
		}
	}
	return IDs{st.Uid, st.Gid}
}

// openCopy mounts a copy of the file src, which it makes in m.Scratch.
func (c *Container) openCopy(m *step.Mount, src *os.File, st unix.Stat_t) (*os.File, error) {
	in, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", src.Fd()))
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer in.Close()
	const name = "file"
	fd, err := unix.Openat(int(m.Scratch.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC,
		0o600)
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}

	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return nil, fmt.Errorf("copy source: %w", err)
	}

	owner := c.onDisk(m, st)
	if err := out.Chown(int(owner.UID), int(owner.GID)); err != nil {
		return nil, fmt.Errorf("own scratch file: %w", err)
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return nil, fmt.Errorf("set mode of scratch file: %w", err)
	}

	return overlay.Bind(out, overlay.BindOptions{Attr: userAttr, UserNS: c.diskNS()})
}
