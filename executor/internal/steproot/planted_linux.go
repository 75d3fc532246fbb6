package steproot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// planted is a file in the upper directory; was are its attributes when it was put there.
type planted struct {
	name string
	was  unix.Stat_t
}

// Plant puts a file into the upper directory, where the step may change or replace it, and Close removes it if the step
// didn't. It is false if the file has to be mounted instead.
func (r *Root) Plant(name string, data []byte) bool {
	if r.Rootfs.Dir != nil {
		return false
	}
	parent, err := inroot.OpenPlain(r.Dir, parentOf(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer parent.Close()
	r.noteCarried(name)
	p := planted{name: name}
	// A child of another step that is being started inherits descriptors; one open for writing to this file would look as
	// if this step went on writing after its end.
	err = r.ids.AsRoot(func() error {
		return rawproc.WithoutFork(func() error { return plantFile(parent, path.Base(name), data) })
	})
	if err == nil {
		p.was, err = statUpper(r.Rootfs.Upper, name)
	}
	if err != nil {
		return false
	}
	r.planted = append(r.planted, p)
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

// Overwrite gives a regular file of the root this text. A file that a mount of the step's covers can be written to as
// well.
func (r *Root) Overwrite(name string, data []byte) (err error) {
	root := r.Dir
	// In Dir the step's own mount still covers the file, since Close ends the step's namespace later.
	if r.Rootfs.Dir != nil {
		root = r.Rootfs.Dir
	}

	to, err := inroot.OpenPlain(root, name, unix.O_WRONLY|unix.O_NONBLOCK)
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
