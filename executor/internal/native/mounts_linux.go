package native

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/internal/mounts"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/internal/script"
)

// attachAll builds the step's mount tree. Two mounts must be attached before others can be put in them or cloned
// from them: the root, on top of the caller's root directory, and the memory file system, where the step's /dev covers
// it later. These places always exist. The caller's own files stay reachable by path until the root is entered.
func (s program) attachAll() {
	memory, dir := s.C.Memory.Dir.Fd(), s.C.Root.Dir.Fd()
	s.Call("attach the root", 0, unix.SYS_MOVE_MOUNT, dir, s.Empty, script.AtFDCWD, s.String("/"),
		unix.MOVE_MOUNT_F_EMPTY_PATH)
	s.Attach(memory, "dev")
	var inDev []mounts.Attachment
	for _, a := range s.C.Mounts.List {
		if inroot.Within(a.Name, "dev") {
			inDev = append(inDev, a)
			continue
		}
		s.attachOne(memory, a)
	}

	// These come last, so that no link of the image can lead another mount into them.
	if s.C.Step.Shared.ShowProcesses {
		s.AttachTree("/proc", "proc")
	} else {
		s.mountAt("proc", "proc")
	}
	script.BoundPIDs(s.Script, "proc", s.C.Root.Dir.Fd())
	s.attachSys()
	s.AttachClone(memory, "dev", "dev")
	for _, name := range s.C.Kernel.Devices {
		s.attachDevice(name, "dev/"+name)
	}
	s.Attach(s.C.Kernel.Pts.Fd(), "dev/pts")
	s.Attach(s.C.Memory.Shm.Fd(), memfs.ShmDir)
	s.mountAt("mqueue", "dev/mqueue")
	for _, a := range inDev {
		s.attachOne(memory, a)
	}
}

// attachDevice shows one of the caller's device nodes at target.
func (s program) attachDevice(name, target string) {
	s.AttachClone(script.AtFDCWD, "/dev/"+name, target)
}

// attachOne attaches a mount, or a clone of a file in memory, at its place.
func (s program) attachOne(memory uintptr, a mounts.Attachment) {
	if a.Mount != nil {
		s.Attach(a.Mount.Fd(), a.Name)
		return
	}
	s.AttachClone(memory, a.Memory, a.Name)
	if a.ReadOnly {
		s.ReadOnly(a.Name)
	}
}

// mountAt mounts a file system that belongs to the child's own namespaces.
func (s program) mountAt(fstype, name string) {
	at := s.Find(name)
	s.AddFed(rawproc.Op{Doing: "enter /" + name, Trap: unix.SYS_FCHDIR}, at, 0)
	t := s.String(fstype)
	ignore := uint64(0)
	if fstype == "mqueue" { // not every kernel has it, and few programs need it
		ignore = rawproc.IgnoreAll
	}
	s.Call("mount "+fstype, ignore, unix.SYS_MOUNT, t, s.String("."), t, script.Nosuid)
}

// attachSys shows the caller's /sys, which lists the network interfaces of the caller's network namespace. So a step
// with another one gets that one's sysfs on top, and where the kernel refuses to mount it, the lists are hidden.
func (s program) attachSys() {
	s.Attach(s.C.Kernel.Sys.Fd(), "sys")
	if !s.C.HasOwnNetwork() {
		return
	}
	for _, name := range []string{"sys/class/net", "sys/devices/virtual/net"} {
		if container.Exists(name) {
			s.AttachClone(s.C.Memory.Dir.Fd(), container.EmptyDir, name)
			s.ReadOnly(name)
		}
	}
	at := s.Find("sys")
	s.AddFed(rawproc.Op{Doing: "enter /sys", Trap: unix.SYS_FCHDIR}, at, 0)
	flags := uintptr(script.Nosuid)
	if !s.C.Step.Security.Insecure {
		flags |= unix.MS_RDONLY
	}
	fs := s.String("sysfs")
	s.Call("mount sysfs", rawproc.Ignoring(unix.EPERM), unix.SYS_MOUNT, fs, s.String("."), fs, flags)
}

// maskProc covers those of MaskedFiles and MaskedDirs that exist, and makes ReadOnlyPaths read-only. It looks for them
// in the caller's /proc and /sys, which have the same ones as the step's.
func (s program) maskProc() {
	for _, name := range container.MaskedFiles() {
		if container.Exists(name) {
			s.attachDevice("null", name)
		}
	}
	masked := ""
	for _, name := range container.MaskedDirs() {
		switch {
		case !container.Exists(name):
		case masked == "":
			s.AttachClone(s.C.Memory.Dir.Fd(), container.EmptyDir, name)
			s.ReadOnly(name)
			masked = name
		default: // a clone is as read-only as what it is cloned from
			s.AttachClone(s.C.Root.Dir.Fd(), masked, name)
		}
	}
	if s.C.Kernel.ShowsGroup {
		s.showControlGroup()
	}
	for _, name := range container.ReadOnlyPaths() {
		if container.Exists(name) {
			s.AttachClone(s.C.Root.Dir.Fd(), name, name)
			s.ReadOnly(name)
		}
	}
}

// showControlGroup shows the control group that the step is in, read-only and as the root of all: programs read their
// limits there. Where the kernel refuses, the directory stays empty.
func (s program) showControlGroup() {
	const name = container.ControlGroupDir
	at := s.Find(name)
	s.AddFed(rawproc.Op{Doing: "enter /" + name, Trap: unix.SYS_FCHDIR}, at, 0)
	fs := s.String("cgroup2")
	s.Call("mount cgroup2", rawproc.IgnoreAll, unix.SYS_MOUNT, fs, s.String("."), fs,
		script.Nosuid|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY)
}
