package oci

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
	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/internal/streams"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
)

// The files in a bundle. A bundle is a memory file system in the step's mount namespace: no other process sees it, and
// it vanishes with the step.
const (
	rootDir    = "rootfs"      // mount of the step's root
	memoryPart = "memory"      // mount of the container's memory file system, with the small files of the step
	sysDir     = "sys"         // mount of the caller's /sys
	userNSFile = "userns"      // mount of the user namespace that the step joins
	configFile = "config.json" // written by writeConfig
	logFile    = "log"         // written by the runtime, read by Failure
	stateDir   = "state"       // the runtime's own
	bundleSize = 32 << 20      // bytes that all files in it may take
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

// BackEnd is the back end that runs the step with an OCI runtime: the first process executes the runtime.
type BackEnd struct {
	c       *container.Container
	runtime step.Runtime
	bundle  *bundle           // made by Prepare
	devices []string          // paths of device nodes that are hidden from the step; Prepare finds them
	ahead   []unix.SockFilter // denies what the runtime could not; Prepare sets it
}

// New is the back end for a container whose step has no emulators, which are registered in a user namespace that only
// the native back end makes, and nothing else that only that one does.
func New(c *container.Container, runtime step.Runtime) (*BackEnd, error) {
	if len(c.Step.Emulators) > 0 {
		return nil, fmt.Errorf("%w: for one step with an OCI runtime: %w", emulator.ErrRegister, errors.ErrUnsupported)
	}
	if c.Step.Shared.ShowProcesses {
		return nil, fmt.Errorf("the caller's processes in /proc with an OCI runtime: %w", errors.ErrUnsupported)
	}
	if c.Step.KeepGroups && runtime.Name != "crun" {
		return nil, fmt.Errorf("the caller's groups with the OCI runtime %s: %w", runtime.Name, errors.ErrUnsupported)
	}
	if c.Step.Stdin != nil || c.Step.Terminal != nil || c.Step.ReadOnly {
		return nil, fmt.Errorf("an input, a terminal or a read-only root with an OCI runtime: %w", errors.ErrUnsupported)
	}
	return &BackEnd{c: c, runtime: runtime}, nil
}

// Prepare makes the step's mounts and the bundle.
func (o *BackEnd) Prepare() (err error) {
	c := o.c
	if err := c.MakeMounts(0); err != nil {
		return err
	}
	if c.Null, err = streams.SealedNull(); err != nil {
		return err
	}
	c.Step.Stdout, c.Step.Stderr = notFiles(c.Step.Stdout, c.Step.Stderr)
	if o.devices, err = o.findDevices(); err != nil {
		return err
	}
	if o.ahead, err = c.Filter.Ahead(); err != nil {
		return err
	}
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
	if streams.SameWriter(stdout, stderr) {
		err = out
	}
	return out, err
}

// makeBundle makes the files of the bundle, and mount points for its parts.
func (o *BackEnd) makeBundle() error {
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
	o.c.Own = append(o.c.Own, dir)
	b := &bundle{dir: dir, at: at, parts: []part{
		{o.c.Root.Dir, rootDir}, {o.c.Memory.Dir, memoryPart}, {o.c.Kernel.Sys, sysDir},
	}}
	for i, a := range o.c.Mounts.List {
		if a.Mount != nil {
			b.parts = append(b.parts, part{a.Mount, mountName(i)})
		}
	}

	for _, name := range append(b.names(), stateDir) {
		if err := unix.Mkdirat(int(dir.Fd()), name, 0o711); err != nil {
			return fmt.Errorf("make %s in the bundle: %w", name, err)
		}
	}
	for i, a := range o.c.Mounts.List {
		if a.Mount != nil && !a.Dir {
			if err := b.file(mountName(i)); err != nil {
				return err
			}
		}
	}

	o.bundle = b
	if o.c.Step.UserNS != nil {
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
	return "", &step.SetupError{Doing: "find a place for the bundle: this machine has no /mnt, /media, /srv or /tmp",
		Err: unix.ENOENT}
}

// Launch gives the process that becomes the runtime. It is process 1 of a pid namespace, with the step's below it, so
// that no process of the step outlives it, and has a mount namespace of its own, so that no mount does. The runtime
// makes the other namespaces, and passes signals on to the step.
func (o *BackEnd) Launch(h script.Handles) script.Launch {
	// What the step shares with the caller, the runtime does, too.
	namespaces := uintptr(unix.CLONE_NEWNS|unix.CLONE_NEWPID) | script.OwnNamespaces(o.c)&unix.CLONE_NEWCGROUP
	return script.Launch{Script: o.program(h), Namespaces: namespaces, Handles: descendantHandles}
}

// program gives the system calls of the child until it executes the runtime.
func (o *BackEnd) program(h script.Handles) *script.Script {
	s := script.New(o.c)
	s.Settle(h)
	s.JoinNamespaces()
	s.JoinNetwork()
	s.OwnMounts()
	// The root mount must be writable: some runtimes make it writable first when they mount another one over it.
	writable := rawproc.Pin(&s.Program, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	s.Call("make /sys writable", rawproc.IgnoreAll, unix.SYS_MOUNT_SETATTR, script.AtFDCWD, s.String("/sys"), 0, writable,
		unsafe.Sizeof(unix.MountAttr{}))
	b := o.bundle
	dir := b.dir.Fd()
	s.Call("attach the bundle", 0, unix.SYS_MOVE_MOUNT, dir, s.Empty, script.AtFDCWD, s.String(b.at),
		unix.MOVE_MOUNT_F_EMPTY_PATH)
	for _, p := range b.parts {
		s.Call("attach "+p.name, 0, unix.SYS_MOVE_MOUNT, p.mount.Fd(), s.Empty, dir, s.String(p.name),
			unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if o.c.Step.NetNS != nil { // the caller's /sys lists the devices of the caller's network
		s.Call("mount sysfs", rawproc.Ignoring(unix.EPERM), unix.SYS_MOUNT, s.String("sysfs"), s.String(b.at+"/"+sysDir),
			s.String("sysfs"), o.sysFlags())
	}
	if ns := o.c.Step.UserNS; ns != nil { // the namespace that is held open, since its path may lead elsewhere by now
		tree := s.Call("clone "+userNSFile, 0, unix.SYS_OPEN_TREE, ns.File.Fd(), s.Empty, script.CloneTree|unix.AT_EMPTY_PATH)
		s.AddFed(rawproc.Op{
			Doing: "attach " + userNSFile, Trap: unix.SYS_MOVE_MOUNT,
			Args: [6]uintptr{0, s.Empty, dir, s.String(userNSFile), unix.MOVE_MOUNT_F_EMPTY_PATH},
		}, tree, 0)
	}
	mountOver(s, "proc", "/proc", 0)
	script.BoundPIDs(s, "/proc", script.AtFDCWD)
	// The runtime sees a read-only tree of control groups, whichever the machine has, so that it leaves nothing there.
	mountOver(s, "cgroup2", "/sys/fs/cgroup", unix.MS_RDONLY)
	s.BoundProcessors()
	s.ScopeSockets() // for all that the runtime starts
	s.FilterAhead(o.ahead)
	s.Call("enter the bundle", 0, unix.SYS_FCHDIR, dir)
	s.Stdio(h)
	s.CloseRest()
	s.Call("set umask", 0, unix.SYS_UMASK, 0o022)
	none := s.Bytes(make([]byte, 8))
	s.Call("unblock signals", 0, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	rt := o.runtime
	argv := append(globalArgs(rt), "run", "--bundle", b.at, "step")
	envp := []string{"PATH=" + container.DefaultPath, "HOME=/"}
	s.Call("execute "+rt.Path, 0, unix.SYS_EXECVE, s.String(rt.Path), s.Strings(argv), s.Strings(envp))
	return s
}

// sysFlags are the flags with which the step's own /sys is mounted.
func (o *BackEnd) sysFlags() uintptr {
	if o.c.Step.Security.Insecure {
		return script.Nosuid
	}
	return script.Nosuid | unix.MS_RDONLY
}

// mountOver mounts a file system of the child's namespaces at a path of the caller's.
func mountOver(s *script.Script, fstype, path string, flags uintptr) {
	ignore := uint64(0)
	if fstype != "proc" {
		ignore = rawproc.IgnoreAll
	}
	t := s.String(fstype)
	s.Call("mount "+fstype, ignore, unix.SYS_MOUNT, t, s.String(path), t, script.Nosuid|flags)
}

// globalArgs are the arguments before the verb. State and log are relative to the bundle, where the runtime is started.
func globalArgs(r step.Runtime) []string {
	args := []string{r.Path, "--root", stateDir, "--log", logFile, "--log-format", "json"}
	switch r.Name {
	case "crun": // the step stays in the caller's control group
		return append(args, "--cgroup-manager=disabled")
	case "runc": // it tries to make a control group, and goes on when it can't
		return append(args, "--rootless=true")
	}
	return args
}
