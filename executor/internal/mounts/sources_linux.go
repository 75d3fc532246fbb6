package mounts

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
)

// opener opens the sources of a step's mounts.
type opener struct {
	ids       *ids.Namespace // the step's user namespace
	userXattr bool           // overlay marks are user.overlay.*
}

// attachment makes the detached mount that m asks for; a memory file system is made later, by Plan.openTmpfs, when it
// is known what it covers.
func (o opener) attachment(m *step.Mount) (Attachment, error) {
	target, err := CleanTarget(m.Target)
	if err != nil {
		return Attachment{}, err
	}
	a := Attachment{Point: inroot.Point{Name: target, Dir: true}, Bind: m}
	switch m.Kind {
	case step.Tmpfs:
		return a, nil
	case step.Bind:
		err = o.bind(m, &a)
	case step.Device:
		err = device(m, &a)
	default:
		err = fmt.Errorf("unknown kind %d", m.Kind)
	}
	if err != nil {
		return Attachment{}, err
	}
	if a.Dir {
		a.view = a.Mount
	}
	return a, nil
}

// bind sets a.Mount to a mount of m's source, or of a stand-in in m.Scratch that takes the step's writes.
func (o opener) bind(m *step.Mount, a *Attachment) error {
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
		a.Mount, err = overlay.Bind(src, overlay.BindOptions{Attr: attr, UserNS: o.mapFor(m)})
	case a.Dir:
		a.Mount, err = o.discard(m, src, st)
	case st.Mode&unix.S_IFMT == unix.S_IFREG:
		a.Mount, err = o.copy(m, src, st)
	default:
		err = errors.New("source is a socket: it can't be copied for writing")
	}

	return err
}

// device sets a.Mount to a mount of a device node. It is read-only, so that the step can't change the node's owner and
// mode; it can write to the device all the same.
func device(m *step.Mount, a *Attachment) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(m.Source.Fd()), &st); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return fmt.Errorf("source %s is no device", m.Source.Name())
	}
	a.Dir = false
	var err error
	a.Mount, err = overlay.Bind(m.Source, overlay.BindOptions{Attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC |
		unix.MOUNT_ATTR_RDONLY})
	return err
}

// mapFor gives the user namespace through whose map m's source is mounted; nil: it isn't ID-mapped.
func (o opener) mapFor(m *step.Mount) *os.File {
	switch {
	case m.UserNS != nil:
		return m.UserNS
	case m.IDMapped:
		return nil
	}
	return o.ids.DiskNS()
}

// discard mounts the directory src so that writes to it go to m.Scratch.
func (o opener) discard(m *step.Mount, src *os.File, st unix.Stat_t) (*os.File, error) {
	upper, err := inroot.EnsureDir(m.Scratch, "upper")
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	// An overlay shows the attributes of its upper directory, so that one gets those of the source.
	path := fmt.Sprintf("/proc/self/fd/%d", upper.Fd())
	owner := o.onDisk(m, st)
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
		Lower: []*os.File{src}, Upper: upper, Work: work, UserXattr: o.userXattr, Volatile: true, Attr: userAttr,
		IDMap: o.ids.DiskMap(), UserNS: o.ids.DiskNS(), LowerMapped: m.IDMapped, LowerNS: m.UserNS,
	})
}

// onDisk gives the owner that a scratch copy of a file in m's source must have on disk; st describes the file.
func (o opener) onDisk(m *step.Mount, st unix.Stat_t) ids.Pair {
	shown := ids.Pair{UID: st.Uid, GID: st.Gid}
	switch {
	case m.UserNS != nil:
		return ids.Pair{}
	case m.IDMapped:
		return o.ids.OnDisk(shown)
	}
	return shown
}

// copy mounts a copy of the file src, which it makes in m.Scratch.
func (o opener) copy(m *step.Mount, src *os.File, st unix.Stat_t) (*os.File, error) {
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

	owner := o.onDisk(m, st)
	if err := out.Chown(int(owner.UID), int(owner.GID)); err != nil {
		return nil, fmt.Errorf("own scratch file: %w", err)
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return nil, fmt.Errorf("set mode of scratch file: %w", err)
	}

	return overlay.Bind(out, overlay.BindOptions{Attr: userAttr, UserNS: o.ids.DiskNS()})
}
