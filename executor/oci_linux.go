package executor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// The files in a bundle. A bundle is a memory file system in the step's mount namespace: no other process sees it, and
// it vanishes with the step.
const (
	rootDir    = "rootfs"
	roomPart   = "room" // the small files of the step
	sysDir     = "sys"
	userNSFile = "userns"
	configFile = "config.json"
	logFile    = "log"
	stateDir   = "state"
	bundleSize = 32 << 20
)

// bundle is the bundle that an OCI runtime is given.
type bundle struct {
	dir   *os.File // a detached mount
	at    string   // where the child attaches it
	parts []part
}

// part is a mount in the bundle, at name.
type part struct {
	mount *os.File
	name  string
}

// oci is the back end that runs the step with an OCI runtime: the first process executes the runtime.
type oci struct {
	c       *container
	runtime Runtime
	bundle  *bundle // made by prepare
}

var _ backEnd = (*oci)(nil)

func newOCI(c *container, runtime Runtime) (*oci, error) {
	if len(c.step.Emulators) > 0 {
		return nil, fmt.Errorf("%w: for one step with an OCI runtime: %w", emulator.ErrRegister, errors.ErrUnsupported)
	}
	return &oci{c: c, runtime: runtime}, nil
}

func (o *oci) prepare() (err error) {
	c := o.c
	if err := c.makeMounts(); err != nil {
		return err
	}
	if c.null, err = sealedNull(); err != nil {
		return err
	}
	c.step.Stdout, c.step.Stderr = notFiles(c.step.Stdout, c.step.Stderr)
	return o.makeBundle()
}

// notFiles hides that the writers are files, so that the step gets pipes: OCI runtimes change the owner of a step's
// standard streams to its user, and must not do so to the caller's files.
func notFiles(stdout, stderr io.Writer) (io.Writer, io.Writer) {
	behind := func(w io.Writer) io.Writer {
		if f, ok := w.(*os.File); ok {
			return struct{ io.Writer }{f}
		}
		return w
	}
	out, err := behind(stdout), behind(stderr)
	if sameWriter(stdout, stderr) {
		err = out
	}
	return out, err
}

// makeBundle makes the files of the bundle, and mount points for its parts.
func (o *oci) makeBundle() error {
	at, err := bundlePlace(o.runtime.Path)
	if err != nil {
		return err
	}

	for _, check := range []func() error{o.checkCwd, o.checkProgram} {
		if err := check(); err != nil {
			return err
		}
	}

	dir, err := overlay.Tmpfs(overlay.TmpfsOptions{Size: bundleSize, Mode: 0o711,
		Attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	if err != nil {
		return err
	}

	o.c.own = append(o.c.own, dir)
	b := &bundle{dir: dir, at: at, parts: []part{{o.c.root.dir, rootDir}, {o.c.room, roomPart}, {o.c.sys, sysDir}}}
	for i, a := range o.c.mounts {
		if a.mount != nil {
			b.parts = append(b.parts, part{a.mount, mountName(i)})
		}
	}

	for _, name := range append(b.names(), stateDir) {
		if err := unix.Mkdirat(int(dir.Fd()), name, 0o711); err != nil {
			return fmt.Errorf("make %s in the bundle: %w", name, err)
		}
	}

	for i, a := range o.c.mounts {
		if a.mount != nil && !a.Dir {
			if err := b.file(mountName(i)); err != nil {
				return err
			}
		}
	}

	o.bundle = b
	if o.c.step.UserNS != nil {
		if err := b.write(userNSFile, nil); err != nil {
			return err
		}
	}

	return o.writeConfig()
}

func mountName(i int) string { return "mount" + strconv.Itoa(i) }

func (b *bundle) names() []string {
	names := make([]string, len(b.parts))
	for i, p := range b.parts {
		names[i] = p.name
	}
	return names
}

// file replaces a mount point that is a directory by a file.
func (b *bundle) file(name string) error {
	fd := int(b.dir.Fd())
	if err := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("make %s in the bundle: %w", name, err)
	}
	if err := unix.Mknodat(fd, name, unix.S_IFREG|0o600, 0); err != nil {
		return fmt.Errorf("make %s in the bundle: %w", name, err)
	}
	return nil
}

// write writes a small file of the bundle.
func (b *bundle) write(name string, data []byte) error {
	fd, err := unix.Openat(int(b.dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s of the bundle: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s of the bundle: %w", name, err)
	}
	return nil
}

// bundlePlace gives the directory that the bundle is mounted over, in the mount namespace of the runtime. It is one
// that every machine has and whose files the runtime doesn't need.
func bundlePlace(runtime string) (string, error) {
	for _, dir := range []string{"/mnt", "/media", "/srv", "/tmp"} {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && !strings.HasPrefix(runtime, dir+"/") {
			return dir, nil
		}
	}
	return "", &SetupError{"find a place for the bundle: this machine has no /mnt, /media, /srv or /tmp", unix.ENOENT}
}

// launch gives the process that becomes the runtime. It is process 1 of a pid namespace, with the step's below it, so
// that no process of the step outlives it, and has a mount namespace of its own, so that no mount does. The runtime
// makes the other namespaces, and passes signals on to the step.
func (o *oci) launch(h handles) launch {
	namespaces := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP)
	return launch{script: o.program(h), namespaces: namespaces, handles: descendantHandles}
}

// program gives the system calls of the child until it executes the runtime.
func (o *oci) program(h handles) *script {
	s := newScript(o.c)
	s.settle(h)
	s.ownMounts()
	// The root mount must be writable: some runtimes make it writable first when they mount another one over it.
	writable := rawproc.Pin(&s.Program, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	s.call("make /sys writable", rawproc.IgnoreAll, unix.SYS_MOUNT_SETATTR, atFDCWD, s.String("/sys"), 0, writable,
		unsafe.Sizeof(unix.MountAttr{}))
	b := o.bundle
	dir := b.dir.Fd()
	s.call("attach the bundle", 0, unix.SYS_MOVE_MOUNT, dir, s.empty, atFDCWD, s.String(b.at),
		unix.MOVE_MOUNT_F_EMPTY_PATH)
	for _, p := range b.parts {
		s.call("attach "+p.name, 0, unix.SYS_MOVE_MOUNT, p.mount.Fd(), s.empty, dir, s.String(p.name),
			unix.MOVE_MOUNT_F_EMPTY_PATH)
	}

	if ns := o.c.step.UserNS; ns != nil { // the open namespace is mounted: its path may lead elsewhere by now
		tree := s.call("clone "+userNSFile, 0, unix.SYS_OPEN_TREE, ns.File.Fd(), s.empty, cloneTree|unix.AT_EMPTY_PATH)
		s.AddFed(rawproc.Op{
			Doing: "attach " + userNSFile, Trap: unix.SYS_MOVE_MOUNT,
			Args: [6]uintptr{0, s.empty, dir, s.String(userNSFile), unix.MOVE_MOUNT_F_EMPTY_PATH},
		}, tree, 0)
	}

	s.mountOver("proc", "/proc", 0)
	// The runtime sees a read-only tree of control groups, so that it makes none, whatever version the machine has.
	s.mountOver("cgroup2", "/sys/fs/cgroup", unix.MS_RDONLY)
	s.scopeSockets() // holds for all processes that the runtime starts
	s.call("enter the bundle", 0, unix.SYS_FCHDIR, dir)
	s.stdio(h)
	s.closeRest()
	s.call("set umask", 0, unix.SYS_UMASK, 0o022)
	none := s.Bytes(make([]byte, 8))
	s.call("unblock signals", 0, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	rt := o.runtime
	argv := append(rt.globalArgs(), "run", "--bundle", b.at, "step")
	envp := []string{"PATH=" + defaultPath, "HOME=/"}
	s.call("execute "+rt.Path, 0, unix.SYS_EXECVE, s.String(rt.Path), s.Strings(argv), s.Strings(envp))
	return s
}

// mountOver mounts a file system of the child's namespaces at a path of the caller's.
func (s *script) mountOver(fstype, path string, flags uintptr) {
	ignore := uint64(0)
	if fstype != "proc" {
		ignore = rawproc.IgnoreAll
	}
	t := s.String(fstype)
	s.call("mount "+fstype, ignore, unix.SYS_MOUNT, t, s.String(path), t, nosuid|flags)
}
