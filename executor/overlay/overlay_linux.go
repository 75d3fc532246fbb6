package overlay

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
	"github.com/cooperbuild/cooper/userns"
)

// maxLower is how many lower directories the kernel stacks in one overlay.
const maxLower = 500

// ErrTooManyLayers is wrapped by the error for more than maxLower lower directories.
var ErrTooManyLayers = errors.New("too many layers")

// Options says what to stack. The files are only borrowed; the mount keeps what it needs.
type Options struct {
	Lower []*os.File // O_PATH directory descriptors, topmost first
	Upper *os.File   // takes the changes; nil: a read-only view
	// a directory in the same mount as Upper, empty or left by an earlier overlay; needed with Upper and Lower
	Work *os.File

	UserXattr bool // marks are user.overlay.*, not trusted.overlay.*; needed in a user namespace
	Volatile  bool // never sync Upper
	Attr      int  // MOUNT_ATTR_* besides MOUNT_ATTR_NODEV, and MOUNT_ATTR_RDONLY for a view

	// IDMap (real root only) shows every layer, Upper too, through an ID-mapped mount: an owner n on disk is the host ID
	// that the map gives to container ID n.
	IDMap *userns.Mapping
	// LowerMapped says that the Lower directories show mapped owners already.
	LowerMapped bool
	// LowerNS shows the Lower directories through the map of this user namespace. Nil: IDMap and LowerMapped say how
	// they are shown.
	LowerNS *os.File
	// UserNS is an open user namespace with the map IDMap, if the caller has one (see NewUserNS). Without IDMap it is
	// ignored.
	UserNS *os.File
}

// Mount stacks the layers and returns an O_PATH descriptor of the root of a detached mount. Close unmounts it. Device
// nodes in it can't be opened. A read-only view of one layer, and Upper without any lower directory, are plain bind
// mounts; no layer at all is an empty read-only directory.
func Mount(o Options) (*os.File, error) {
	if len(o.Lower) > maxLower {
		return nil, fmt.Errorf("mount overlay: %w: %d, the kernel stacks at most %d", ErrTooManyLayers, len(o.Lower),
			maxLower)
	}

	switch {
	case o.IDMap == nil:
		o.UserNS = nil
	case o.UserNS == nil:
		ns, err := NewUserNS(*o.IDMap)
		if err != nil {
			return nil, err
		}
		defer ns.Close()
		o.UserNS = ns
	}

	switch {
	case o.Upper == nil && len(o.Lower) == 0:
		return Tmpfs(TmpfsOptions{Mode: 0o755, Attr: o.Attr | unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV})
	case o.Upper == nil && len(o.Lower) == 1:
		return Bind(o.Lower[0], BindOptions{Attr: o.Attr | unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV, UserNS: o.UserNS})
	case len(o.Lower) == 0:
		return Bind(o.Upper, BindOptions{Attr: o.Attr | unix.MOUNT_ATTR_NODEV, UserNS: o.UserNS})
	case o.Upper != nil && o.Work == nil:
		return nil, errors.New("mount overlay: an upper directory needs a work directory")
	}

	return stack(o)
}

// stack mounts an overlay of two layers or more.
func stack(o Options) (*os.File, error) {
	l := layers{lower: fds(o.Lower), upper: -1, work: -1}
	if o.Upper != nil {
		l.upper, l.work = int(o.Upper.Fd()), int(o.Work.Fd())
		// A volatile overlay leaves this mark, so that nobody takes what was never synced for whole. Whether Upper is whole
		// is the caller's business; the mark would only keep Work from being used again.
		if err := unix.Unlinkat(l.work, "work/incompat/volatile/dirty", 0); err == nil {
			_ = unix.Unlinkat(l.work, "work/incompat/volatile", unix.AT_REMOVEDIR)
		}
	}

	if o.UserNS != nil || o.LowerNS != nil {
		mapped, err := cloneLayers(o)
		defer closeAll(mapped.own)
		if err != nil {
			return nil, err
		}
		l = mapped
	}

	f, err := l.mount(o)
	if err == nil {
		return writable(f, o)
	}

	// Before Linux 6.15 a layer must be attached in the mount namespace, which a detached one is not; before 6.7 layers
	// can't be added one by one. mountPrivately needs neither: it attaches them in a mount namespace that exists for this
	// one call.
	if errors.Is(err, unix.EINVAL) {
		if f, privateErr := mountPrivately(o); privateErr == nil {
			return writable(f, o)
		}
		// Before Linux 5.10 there is no option "volatile". It only saves time, so the mount is made without it.
		if o.Volatile {
			o.Volatile = false
			return stack(o)
		}
	}

	return nil, err
}

// writable refuses what the kernel made of an upper directory that it could not prepare: a read-only mount, without an
// error.
func writable(f *os.File, o Options) (*os.File, error) {
	var fs unix.Statfs_t
	if o.Upper == nil {
		return f, nil
	}
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		return f, err
	}
	_ = f.Close()
	return nil, fmt.Errorf("mount overlay: the kernel can't use the work directory %s, its log says why: %w",
		o.Work.Name(), unix.EROFS)
}

// layers are the descriptors of the directories that are stacked. cloneLayers makes clones of them.
type layers struct {
	lower       []int
	upper, work int // -1: none

	mounts []int // the detached mounts that they are in, if they were cloned
	own    []int // those to close when done
}

func (l layers) mount(o Options) (f *os.File, err error) {
	if !l.needContainerRoot(o) {
		return l.mountHere(o)
	}
	err = thread.OnLost(func() (err error) {
		f, err = l.mountHere(o)
		return err
	})
	return f, err
}

func (l layers) needContainerRoot(o Options) bool { return l.upper >= 0 && o.UserNS != nil }

// mountHere mounts on this thread, and may change the thread's credentials.
func (l layers) mountHere(o Options) (*os.File, error) {
	if l.needContainerRoot(o) {
		if err := becomeContainerRoot(*o.IDMap); err != nil {
			return nil, err
		}
	}

	fs, err := openFS("overlay")
	if err != nil {
		return nil, err
	}
	defer fs.close()
	for _, fd := range l.lower {
		fs.set("lowerdir+", fdPath(fd))
	}

	if l.upper >= 0 {
		fs.set("upperdir", fdPath(l.upper))
		fs.set("workdir", fdPath(l.work))
	}

	for _, opt := range o.list() {
		fs.set(opt.key, opt.value)
	}
	attr := o.Attr | unix.MOUNT_ATTR_NODEV
	if l.upper < 0 {
		attr |= unix.MOUNT_ATTR_RDONLY
	}

	return fs.mount(attr)
}

type option struct{ key, value string } // value "": a flag

// list gives the options besides the layers. The features that make the upper directory more than a plain difference
// are switched off: it becomes a layer that other tools read.
func (o Options) list() []option {
	list := []option{{"index", "off"}, {"metacopy", "off"}}
	if o.UserXattr {
		list = append(list, option{"userxattr", ""})
	} else {
		list = append(list, option{"redirect_dir", "off"}) // userxattr implies that, and refuses to be told so
	}
	if o.Volatile && o.Upper != nil {
		list = append(list, option{"volatile", ""})
	}
	return list
}

func fds(files []*os.File) []int {
	list := make([]int, len(files))
	for i, f := range files {
		list[i] = int(f.Fd())
	}
	return list
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// fdPath names a descriptor for calls that take only paths. It stays right when the directory is renamed.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
