package steproot

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
)

// The directories in Rootfs.Work.
const (
	workDir      = "work-"      // the prefix, before a number, of overlay's work directory, one for each Run
	stubsDir     = "stubs"      // mount points that every step needs
	stepStubsDir = "step-stubs" // mount points that only this step needs; removed when it ends
)

// standardDirs are the mount points of every step.
func standardDirs() []string { return []string{"proc", "sys", "dev", "etc"} }

// Root is the step's root file system: a detached mount.
type Root struct {
	Rootfs step.Rootfs
	Dir    *os.File      // the detached mount; nil while stack mounts it anew
	made   []inroot.Stub // mount points made in Dir itself, because no lower directory could show them

	planted []planted // the standard files that Plant has put into Upper
	carried []carried // directories that overlay has copied up to Upper for made and planted
	Ran     bool      // the step has succeeded, so that what it has written is wanted; executor.Run sets it
	// MountNS is the step's mount namespace, if Rootfs.Dir is set and it could be opened; executor.Run sets it.
	MountNS *os.File
	ids     *ids.Namespace  // the step's user namespace; nil in a Root that wasn't made by Open
	opts    overlay.Options // what Dir is mounted with, if it is an overlay
	own     []*os.File      // files that Close closes
	extra   *os.File        // the directory Work/step-stubs, a lower directory of Dir; nil before stack needs it
}

// carried is a directory that overlay copied up to Upper only because a stub was made in it.
type carried struct {
	name   string
	before unix.Stat_t // its attributes in Root.Dir before it was copied up
}

// Open makes the root of a step in the namespace with the mount points that every step needs; Provide adds others.
// Close must be called also after an error.
func Open(o step.Rootfs, namespace *ids.Namespace) (r *Root, err error) {
	r = &Root{Rootfs: o, ids: namespace}
	if o.Dir != nil {
		r.Dir, err = overlay.Bind(o.Dir, overlay.BindOptions{Attr: unix.MOUNT_ATTR_NODEV, UserNS: namespace.DiskNS()})
		return r, err
	}
	if o.Upper == nil || o.Work == nil {
		return r, errors.New("a step needs Upper and Work, or Dir")
	}

	// Each Run has a new work directory: to use an old one again, its files would have to be removed, and file systems are
	// slow to make files where others were just removed.
	work, err := inroot.EnsureDir(o.Work, workDir+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err != nil {
		return r, err
	}

	r.own = append(r.own, work)
	r.opts = overlay.Options{
		Lower: append([]*os.File(nil), o.Lower...), Upper: o.Upper, Work: work, UserXattr: o.UserXattr, Volatile: o.Volatile,
		IDMap: namespace.DiskMap(), UserNS: namespace.DiskNS(),
	}

	if !r.lowestHasStandard() {
		if err := namespace.AsStubOwner(r.addStandardStubs); err != nil {
			return r, err
		}
	}
	r.Dir, err = overlay.Mount(r.opts)
	return r, err
}

// lowestHasStandard tells whether the lowest layer has all standard mount points. It looks at that layer only, so that
// the number of layers doesn't matter; Provide finds those that a higher layer hides.
func (r *Root) lowestHasStandard() bool {
	if len(r.Rootfs.Lower) == 0 {
		return false
	}
	lowest := int(r.Rootfs.Lower[len(r.Rootfs.Lower)-1].Fd())
	var st unix.Stat_t
	for _, name := range standardDirs() {
		if unix.Fstatat(lowest, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return false
		}
	}
	return true
}

func (r *Root) addStandardStubs() error {
	stubs := r.Rootfs.Stubs
	if stubs == nil {
		own, err := inroot.EnsureDir(r.Rootfs.Work, stubsDir)
		if err != nil {
			return err
		}
		r.own = append(r.own, own)
		stubs = own
	}
	r.opts.Lower = append(r.opts.Lower, stubs)
	for _, name := range standardDirs() {
		_, err := inroot.MakeEmpty(int(stubs.Fd()), name, true)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return fmt.Errorf("make mount point %s: %w", name, err)
		}
	}
	return nil
}

// ProvideKernels refuses an image in which /proc, /sys or /dev, where the kernel's file systems will be, lead
// elsewhere, and provides them if they are missing.
func (r *Root) ProvideKernels() error {
	var missing []inroot.Point
	for _, name := range []string{"proc", "sys", "dev"} {
		mode, err := inroot.ModeOf(r.Dir, name)
		switch {
		case errors.Is(err, unix.ENOENT):
			missing = append(missing, inroot.Point{Name: name, Dir: true})
		case err != nil:
			return fmt.Errorf("look at /%s in the image: %w", name, err)
		case mode&unix.S_IFMT == unix.S_IFLNK:
			return fmt.Errorf("the image's /%s is a symbolic link: it must be a directory", name)
		case mode&unix.S_IFMT != unix.S_IFDIR:
			return fmt.Errorf("the image's /%s is not a directory", name)
		}
	}
	return r.Provide(missing)
}

// Provide makes the missing mount points. In an overlay a further lowest directory shows them; only those that a layer
// hides are made in the root itself, and removed by Close.
func (r *Root) Provide(missing []inroot.Point) error {
	if len(missing) == 0 {
		return nil
	}
	if r.Rootfs.Dir == nil {
		if err := r.stack(missing); err != nil {
			return err
		}
	}

	for _, p := range missing {
		if found, err := inroot.Locate(r.Dir, p.Name); err != nil {
			return err
		} else if found.Exists {
			continue
		}
		r.noteCarried(p.Name)
		err := r.ids.AsRoot(func() error {
			made, err := inroot.MakeStubs(r.Dir, p.Name, p.Dir)
			r.made = append(r.made, made...)
			return err
		})
		if err != nil {
			return err
		}
	}

	return nil
}

// stack mounts the root again with a lowest directory that has the points.
func (r *Root) stack(missing []inroot.Point) error {
	if r.extra == nil {
		if err := removeTree(r.Rootfs.Work, stepStubsDir); err != nil { // left by a step that was killed
			return err
		}
		extra, err := inroot.EnsureDir(r.Rootfs.Work, stepStubsDir)
		if err != nil {
			return err
		}
		r.extra = extra
		r.opts.Lower = append(r.opts.Lower, extra)
	}
	err := r.Dir.Close()
	r.Dir = nil
	if err != nil {
		return fmt.Errorf("unmount root: %w", err)
	}
	for _, p := range missing {
		if err := r.ids.AsStubOwner(func() error { return inroot.MakeAll(r.extra, p) }); err != nil {
			return err
		}
	}
	r.Dir, err = overlay.Mount(r.opts)
	return err
}

// noteCarried remembers the directories above name that are about to be copied up.
func (r *Root) noteCarried(name string) {
	if r.Rootfs.Dir != nil {
		return
	}
	elements := strings.Split(name, "/")
	for i := 1; i < len(elements); i++ {
		dir := strings.Join(elements[:i], "/")
		var st unix.Stat_t
		f, err := inroot.OpenPlain(r.Dir, dir, unix.O_PATH)
		if err != nil {
			return
		}
		err = unix.Fstat(int(f.Fd()), &st)
		f.Close()
		if up, upErr := inroot.OpenPlain(r.Rootfs.Upper, dir, unix.O_PATH); upErr == nil {
			up.Close()
			continue
		}
		if err == nil {
			r.carried = append(r.carried, carried{dir, st})
		}
	}
}

// Close removes the files that were made for the step and unmounts the root. It also makes sure that no process goes on
// writing to the files of the layer: all processes of the step have ended, but one may have sent a descriptor to
// another process over a socket.
func (r *Root) Close() error {
	err := r.sealDir()
	if len(r.made) > 0 {
		removeErr := r.ids.AsRoot(func() error {
			inroot.RemoveStubs(r.made)
			return nil
		})
		if removeErr != nil {
			return errors.Join(err, removeErr)
		}
	}
	if r.Ran && r.Rootfs.Dir == nil {
		err = errors.Join(err, overlay.Seal(r.Dir))
	}
	if errors.Is(err, overlay.ErrStillWritten) {
		err = step.ErrStillWritten
	}
	if r.Dir != nil {
		err = errors.Join(err, r.Dir.Close())
	}

	for _, p := range r.planted {
		err = errors.Join(err, p.uproot(r.Rootfs.Upper))
	}
	for i := len(r.carried) - 1; i >= 0; i-- {
		r.dropCarried(r.carried[i])
	}

	for _, f := range r.own {
		f.Close()
	}
	if r.extra != nil {
		r.extra.Close()
		err = errors.Join(err, removeTree(r.Rootfs.Work, stepStubsDir))
	}

	return err
}

// sealDir makes the step's mount of Rootfs.Dir read-only and closes the step's mount namespace, which ends it. From
// then on the mount points in r.made are reached through the caller's mount.
func (r *Root) sealDir() error {
	if r.MountNS == nil {
		return nil
	}
	defer r.MountNS.Close()
	if !r.Ran {
		return nil
	}
	if err := overlay.SealIn(r.MountNS, r.Dir); err != nil {
		return err
	}
	for i, s := range r.made {
		parent, err := inroot.OpenPlain(r.Rootfs.Dir, parentOf(s.Full), unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			s.Parent.Close()
			r.made[i].Parent = parent
		}
	}
	return nil
}

// dropCarried removes a directory from Upper if it is empty and has the attributes of the one in the layer below: then
// only a mount point or a standard file was the reason to copy it up.
func (r *Root) dropCarried(d carried) {
	f, err := inroot.OpenPlain(r.Rootfs.Upper, d.name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Mode != d.before.Mode || st.Mtim != d.before.Mtim {
		return
	}
	if r.ids.Host(st.Uid, st.Gid) != (ids.Pair{UID: d.before.Uid, GID: d.before.Gid}) {
		return
	}
	parent, err := inroot.OpenPlain(r.Rootfs.Upper, parentOf(d.name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer parent.Close()
	var before unix.Stat_t
	if unix.Fstat(int(parent.Fd()), &before) != nil {
		return
	}

	base := d.name[strings.LastIndexByte(d.name, '/')+1:]
	if unix.Unlinkat(int(parent.Fd()), base, unix.AT_REMOVEDIR) == nil {
		_ = inroot.SetTimes(parent, before)
	}
}

// parentOf gives the directory of a path that is relative to the root, "." for the root itself.
func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		return name[:i]
	}
	return "."
}

// removeTree removes the tree name in dir, which this package has made.
func removeTree(dir *os.File, name string) error {
	r, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if err := r.RemoveAll(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
