package library

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Files can be renamed and linked within one mount only, and nothing can be mounted on a directory that was opened by
// way of a mount which is gone. Real root's podman and buildah mount the driver's directory over itself for as long as
// they run, which splits the store in two under a build.

// oneMount has a function run where the store's directory is one mount, whatever lies on it elsewhere.
type oneMount struct {
	root  string      // the store's directory
	calls chan func() // functions for the thread, which takes them one by one
}

// sameMount tells whether files can be renamed from one directory to another.
func sameMount(a, b string) bool {
	x, errA := mountOf(a)
	y, errB := mountOf(b)
	return errA == nil && errB == nil && x == y
}

// mountID names a mount. A kernel before 5.8 gives no number.
type mountID struct {
	device [2]uint32
	number uint64
}

func mountOf(dir string) (mountID, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &st); err != nil {
		return mountID{}, &os.PathError{Op: "statx", Path: dir, Err: err}
	}
	return mountID{[2]uint32{st.Dev_major, st.Dev_minor}, st.Mnt_id}, nil
}

// newOneMount starts a thread with a mount namespace of its own for the functions. The driver's directory must be the
// same there as elsewhere.
func newOneMount(root, driver string) (*oneMount, error) {
	m := &oneMount{root: root, calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function, and the namespace with it
		err := m.cover(driver)
		ready <- err
		if err != nil {
			return
		}
		for call := range m.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("mount %s for this process: %w", root, err)
	}
	return m, nil
}

// cover mounts the store's directory over itself, without what is mounted in it, for this thread.
func (m *oneMount) cover(driver string) error {
	before, err := os.Stat(driver)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(m.root, m.root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	after, err := os.Stat(driver)
	if err != nil {
		return err
	}
	if !os.SameFile(before, after) || !sameMount(m.root, driver) {
		return errors.New("its driver's directory is another file system's")
	}
	return nil
}

// run has the thread call f. What f panics with is the caller's panic.
func (m *oneMount) run(f func() error) (err error) {
	done := make(chan any)
	m.calls <- func() {
		defer func() { done <- recover() }()
		err = f()
	}
	if cause := <-done; cause != nil {
		panic(cause)
	}
	return err
}

// renaming has functions run where files can be renamed from cooper's own directory to layers. In the zero value that
// is everywhere.
type renaming struct {
	// one starts the thread where it is so, if that isn't so everywhere; else it is nil. join writes it.
	one func() (*oneMount, error)
}

// join tells whether the layers that ApplyStagedLayer makes can be renamed out of the directory own into that of the
// driver in the store's root, on whatever mounts the two are. An ordinary user's build is in a mount namespace of its
// own, in which nothing is mounted meanwhile; watched says that this isn't one. It is called once, before the first
// layer.
func (r *renaming) join(own, root string, watched bool) bool {
	driver := filepath.Join(root, Overlay)
	whole := sameMount(own, driver)
	if whole && !watched {
		return true
	}
	r.one = sync.OnceValues(func() (*oneMount, error) { return newOneMount(root, driver) })
	if whole {
		return true
	}
	_, err := r.one()
	return err == nil
}

// run calls f where files can be renamed.
func (r *renaming) run(f func() error) error {
	if r.one == nil {
		return f()
	}
	one, err := r.one()
	if err != nil { // without the right to mount, as in a container; there nobody else has it either
		return f()
	}
	return one.run(f)
}

// Beneath gives an open directory of a layer as one of the mount that the directory own is in, and closes the given
// one. Where that can't be done it gives it back.
func Beneath(own string, dir *os.File) *os.File {
	base, err := os.Open(own)
	if err != nil {
		return dir
	}
	defer base.Close()
	beneath, err := openBeneath(base, dir)
	if err != nil { // without the capability, as in a container, or on another file system
		return dir
	}
	_ = dir.Close()
	return beneath
}

// openBeneath opens by way of the mount that base is in.
func openBeneath(base, dir *os.File) (*os.File, error) {
	var there, here, opened unix.Stat_t
	if err := errors.Join(unix.Fstat(int(base.Fd()), &there), unix.Fstat(int(dir.Fd()), &here)); err != nil {
		return nil, err
	}
	if there.Dev != here.Dev { // a handle of another file system may mean any file of this one
		return nil, unix.EXDEV
	}
	handle, _, err := unix.NameToHandleAt(int(dir.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, err
	}
	fd, err := unix.OpenByHandleAt(int(base.Fd()), handle, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir.Name())
	if err := unix.Fstat(fd, &opened); err != nil || opened.Ino != here.Ino {
		return nil, errors.Join(unix.ESTALE, f.Close())
	}
	return f, nil
}
