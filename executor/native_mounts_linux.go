package executor

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// attachAll builds the step's mount tree. The root is first put on top of the caller's root directory, where nothing
// looks, and the room where /dev will cover it: both must be attached somewhere, and these are places that always
// exist. The caller's own files stay reachable by path until the root is entered.
func (s *script) attachAll() {
	room, dir := s.c.room.Fd(), s.c.root.dir.Fd()
	s.call("attach the root", 0, unix.SYS_MOVE_MOUNT, dir, s.empty, atFDCWD, s.String("/"), unix.MOVE_MOUNT_F_EMPTY_PATH)
	s.attach(room, "dev")
	var inDev []attachment
	for _, a := range s.c.mounts {
		if inroot.Within(a.Name, "dev") {
			inDev = append(inDev, a)
			continue
		}
		s.attachOne(room, a)
	}
	// Only now, so that no link of the image can lead another mount into them.
	s.mountAt("proc", "proc")
	s.attachSys()
	s.attachClone(room, "dev", "dev")
	for _, name := range s.c.devices {
		s.attachDevice(name, "dev/"+name)
	}
	s.attach(s.c.pts.Fd(), "dev/pts")
	s.attach(s.c.shm.Fd(), shmDir)
	s.mountAt("mqueue", "dev/mqueue")
	for _, a := range inDev {
		s.attachOne(room, a)
	}
}

// attachDevice shows one of the caller's device nodes at target.
func (s *script) attachDevice(name, target string) { s.attachClone(atFDCWD, "/dev/"+name, target) }

func (s *script) attachOne(room uintptr, a attachment) {
	if a.mount != nil {
		s.attach(a.mount.Fd(), a.Name)
		return
	}
	s.attachClone(room, a.room, a.Name)
	if a.readOnly {
		s.readOnly(a.Name)
	}
}

// mountAt mounts a file system that belongs to the child's own namespaces.
func (s *script) mountAt(fstype, name string) {
	at := s.find(name)
	s.AddFed(rawproc.Op{Doing: "enter /" + name, Trap: unix.SYS_FCHDIR}, at, 0)
	t := s.String(fstype)
	ignore := uint64(0)
	if fstype == "mqueue" { // few need it, and not every kernel has it
		ignore = rawproc.IgnoreAll
	}
	s.call("mount "+fstype, ignore, unix.SYS_MOUNT, t, s.String("."), t, nosuid)
}

// attachSys shows the caller's /sys. It lists the network interfaces of the caller's namespace, so a step that has
// another one gets a sysfs of that on top; where the kernel refuses to make it, the lists are hidden.
func (s *script) attachSys() {
	s.attach(s.c.sys.Fd(), "sys")
	if s.c.step.Network != networkNone {
		return
	}
	for _, name := range []string{"sys/class/net", "sys/devices/virtual/net"} {
		if exists(name) {
			s.attachClone(s.c.room.Fd(), "empty", name)
			s.readOnly(name)
		}
	}
	at := s.find("sys")
	s.AddFed(rawproc.Op{Doing: "enter /sys", Trap: unix.SYS_FCHDIR}, at, 0)
	flags := uintptr(nosuid)
	if !s.c.step.Security.Insecure {
		flags |= unix.MS_RDONLY
	}
	fs := s.String("sysfs")
	s.call("mount sysfs", rawproc.Ignoring(unix.EPERM), unix.SYS_MOUNT, fs, s.String("."), fs, flags)
}

// What a step must not see, and what it must not write, because no namespace makes it the step's own.
func maskedFiles() []string {
	return []string{"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/timer_stats",
		"proc/sched_debug", "proc/interrupts"}
}

func maskedDirs() []string {
	return []string{"proc/acpi", "proc/asound", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap",
		"sys/fs/cgroup"}
}

func readOnlyPaths() []string {
	return []string{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"}
}

// maskProc covers what exists on this kernel: /proc and /sys are the same for the caller.
func (s *script) maskProc() {
	for _, name := range maskedFiles() {
		if exists(name) {
			s.attachDevice("null", name)
		}
	}
	masked := ""
	for _, name := range maskedDirs() {
		switch {
		case !exists(name):
		case masked == "":
			s.attachClone(s.c.room.Fd(), "empty", name)
			s.readOnly(name)
			masked = name
		default: // a clone is as read-only as what it is cloned from
			s.attachClone(s.c.root.dir.Fd(), masked, name)
		}
	}
	for _, name := range readOnlyPaths() {
		if exists(name) {
			s.attachClone(s.c.root.dir.Fd(), name, name)
			s.readOnly(name)
		}
	}
}
