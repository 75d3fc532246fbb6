package container

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// The files of name resolution (standard files) come from this package while the step runs, but changes that the step
// makes to them belong in the layer. So on an overlay they aren't mounted, but put into the upper directory (planted),
// where the step may change or replace them, and removed at the end (uprooted) if the step didn't. On other roots they
// are mounted, and changes of the step are written to the root at the end.

// maxNamesFile is the size in bytes of the largest standard file that is written back to the root.
const maxNamesFile = 1 << 20

// standardFiles are the files that every step gets.
func standardFiles() []string { return []string{resolvFile, "etc/hosts"} }

// planted is a standard file in the upper directory; was are its attributes when it was put there.
type planted struct {
	name string
	was  unix.Stat_t
}

// plant puts a standard file into the upper directory; false if it has to be mounted instead.
func (c *Container) plant(name string, data []byte) bool {
	if c.Root.Rootfs.Dir != nil {
		return false
	}
	parent, err := inroot.OpenPlain(c.Root.Dir, parentOf(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer parent.Close()
	c.Root.noteCarried(name)
	p := planted{name: name}
	// A child of another step that is being started inherits descriptors; one open for writing to this file would look as
	// if this step went on writing after its end.
	err = overlay.AsContainerRoot(c.Step.Mapping, func() error {
		return rawproc.WithoutFork(func() error { return plantFile(parent, path.Base(name), data) })
	})
	if err == nil {
		p.was, err = statUpper(c.Root.Rootfs.Upper, name)
	}
	if err != nil {
		return false
	}
	c.Root.planted = append(c.Root.planted, p)
	return true
}

// plantFile makes a file, in place of the one with its name if there is one. The directory keeps its times.
func plantFile(dir *os.File, name string, data []byte) (err error) {
	var before unix.Stat_t
	fd := int(dir.Fd())
	if err := unix.Fstat(fd, &before); err != nil {
		return err
	}
	temp := ".cooper-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	file, err := unix.Openat(fd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(file), temp)
	_, err = f.Write(data)
	err = errors.Join(err, unix.Fchmod(file, 0o644), f.Close())
	if err == nil {
		err = unix.Renameat(fd, temp, fd, name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(fd, temp, 0))
	}
	return inroot.SetTimes(dir, before)
}

// statUpper gives the attributes of a file in the upper directory.
func statUpper(upper *os.File, name string) (st unix.Stat_t, err error) {
	f, err := inroot.OpenPlain(upper, name, unix.O_PATH)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fstat(int(f.Fd()), &st)
}

// uproot removes a planted file that the step hasn't changed from the upper directory. No mount uses that directory any
// more. The directory keeps the times that it has after the step.
func (p planted) uproot(upper *os.File) error {
	now, err := statUpper(upper, p.name)
	if err != nil || now.Ino != p.was.Ino || now.Ctim != p.was.Ctim || now.Size != p.was.Size {
		return nil // the step has replaced or removed the file
	}
	parent, err := inroot.OpenPlain(upper, parentOf(p.name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer parent.Close()
	var before unix.Stat_t
	if err := unix.Fstat(int(parent.Fd()), &before); err != nil {
		return err
	}
	if err := unix.Unlinkat(int(parent.Fd()), path.Base(p.name), 0); err != nil {
		return fmt.Errorf("take /%s out of the layer: %w", p.name, err)
	}
	return inroot.SetTimes(parent, before)
}

// keepNames writes the step's changes to mounted standard files to the root.
func (c *Container) keepNames() error {
	for _, a := range c.Mounts {
		if !a.writeBack {
			continue
		}
		if err := rawproc.WithoutFork(func() error { return c.keepName(a) }); err != nil {
			return fmt.Errorf("keep what the step has written to /%s: %w", a.Name, err)
		}
	}
	return nil
}

// keepName writes the standard file a to the root if it isn't any more what makeEtc has put into it.
func (c *Container) keepName(a Attachment) (err error) {
	from, err := inroot.OpenPlain(c.Room, a.Room, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	data, err := io.ReadAll(io.LimitReader(from, maxNamesFile+1))
	if err != nil || bytes.Equal(data, c.names[a.Room]) {
		return err
	}

	if len(data) > maxNamesFile {
		return fmt.Errorf("it is larger than %d KiB", maxNamesFile>>10)
	}
	root := c.Root.Dir
	// In Root.Dir the step's own mount still covers the file, since close ends the step's namespace later.
	if c.Root.Rootfs.Dir != nil {
		root = c.Root.Rootfs.Dir
	}

	to, err := inroot.OpenPlain(root, a.Name, unix.O_WRONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if st, err := to.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(errors.New("the root has no regular file there"), err)
	}
	if err := to.Truncate(0); err != nil {
		return err
	}

	_, err = to.Write(data)
	return err
}
