package executor

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// attachAll builds the step's mount tree. A mount must be attached somewhere before others are attached in it, so the
// root is put over the caller's root directory, where path look-ups don't notice it, and the room on the root's /dev,
// which is mounted over it later; both places always exist. The caller's own files stay reachable by path until the
// root is entered.
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

	// These come last, so that no link of the image can lead another mount into them.
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
	if fstype == "mqueue" { // not every kernel has it, and few programs need it
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

// Files and directories that a step must not see, and paths that it must not write to: they belong to no namespace.
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

// maskProc covers those of these files that exist on this kernel: the caller's /proc and /sys have the same ones.
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
		default: // the clone is read-only like the mount that it is cloned from
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
