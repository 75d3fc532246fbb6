package executor_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A way is one that has led out of containers, or to the kernel. try gives nil if it is open.
type way struct {
	name string
	try  func() error
}

// probe tries all ways in a step and prints the open ones, and how many it has tried.
func probe() int {
	ways := slices.Concat(callWays(), fileWays(), socketWays(), mountWays(), processWays())
	for _, w := range ways {
		if w.try() == nil {
			fmt.Println(w.name)
		}
	}
	fmt.Println("tried", len(ways))
	return 0
}

// call makes a system call; any result but an error is a way.
func call(trap uintptr, args ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], args)
		r, _, e := unix.RawSyscall6(trap, a[0], a[1], a[2], a[3], a[4], a[5])
		if e != 0 {
			return e
		}
		if int(r) > 2 && int(r) < 1024 {
			_ = unix.Close(int(r)) // most that succeed give a descriptor
		}
		return nil
	}
}

// refused makes a call with arguments that make no sense: the way is open if the kernel has looked at them.
func refused(trap uintptr, args ...uintptr) func() error {
	return func() error {
		err := call(trap, args...)()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES) {
			return err
		}
		return nil
	}
}

// Arguments of calls that are made later are global, for nothing else stays where it is.
var (
	zeros  [4096]byte
	adjust = unix.Timex{Modes: unix.ADJ_OFFSET}
	many   = unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}
	first  = [1]int32{1}
)

func callWays() []way {
	const bad = ^uintptr(0)
	memory := uintptr(unsafe.Pointer(&zeros[0]))
	return []way{
		{"bpf", refused(unix.SYS_BPF, 0, memory, 64)},
		{"perf_event_open", refused(unix.SYS_PERF_EVENT_OPEN, memory, 0, bad, bad)},
		{"userfaultfd", refused(unix.SYS_USERFAULTFD, 1)}, {"io_uring_setup", refused(unix.SYS_IO_URING_SETUP, 1, memory)},
		{"keyctl", refused(unix.SYS_KEYCTL, 0)}, {"add_key", refused(unix.SYS_ADD_KEY, memory, memory)},
		{"request_key", refused(unix.SYS_REQUEST_KEY, memory, memory)},
		{"init_module", refused(unix.SYS_INIT_MODULE, memory, 1, memory)},
		{"finit_module", refused(unix.SYS_FINIT_MODULE, bad, memory)},
		{"delete_module", refused(unix.SYS_DELETE_MODULE, memory)},
		{"kexec_load", refused(unix.SYS_KEXEC_LOAD, bad, bad)}, {"reboot", refused(unix.SYS_REBOOT, 1)},
		{"swapon", refused(unix.SYS_SWAPON, memory)}, {"swapoff", refused(unix.SYS_SWAPOFF, memory)},
		{"acct", refused(unix.SYS_ACCT, 0)},
		{"settimeofday", refused(unix.SYS_SETTIMEOFDAY, memory)},
		{"clock_settime", refused(unix.SYS_CLOCK_SETTIME, 0, memory)},
		{"adjtimex, setting", refused(unix.SYS_ADJTIMEX, uintptr(unsafe.Pointer(&adjust)))},
		{"sethostname", call(unix.SYS_SETHOSTNAME, memory, 1)}, {"setdomainname", call(unix.SYS_SETDOMAINNAME, memory, 1)},
		{"syslog, reading", call(unix.SYS_SYSLOG, 3, memory, 4096)}, {"quotactl", refused(unix.SYS_QUOTACTL, bad)},
		{"vhangup", call(unix.SYS_VHANGUP)},
		{"name_to_handle_at", call(unix.SYS_NAME_TO_HANDLE_AT, unsignedCwd(), memory, 0, 0)},
		{"open_by_handle_at", refused(unix.SYS_OPEN_BY_HANDLE_AT, bad, memory)},
		{"fanotify_init", call(unix.SYS_FANOTIFY_INIT, 0)},
		{"lookup_dcookie", refused(212, 0, memory, 1)},
		{"move_pages of process 1", refused(unix.SYS_MOVE_PAGES, 1, 1, memory)},
		{"kcmp", refused(unix.SYS_KCMP, 1, 1, 0, 0)}, {"nfsservctl", refused(180, 0)},
		{"lsm_set_self_attr", refused(460, 100, memory, 8, 0)},
		{"memfd_create", call(unix.SYS_MEMFD_CREATE, memory, 0)}, {"memfd_secret", call(447, 0)},
		{"landlock_create_ruleset", call(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)},
		{"setpriority -20", call(unix.SYS_SETPRIORITY, 0, 0, ^uintptr(19))},
		{"sched_setscheduler real time", func() error {
			return call(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&first[0])))()
		}},
		{"mlockall", call(unix.SYS_MLOCKALL, 1)},
		{"raise RLIMIT_NOFILE", call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE,
			uintptr(unsafe.Pointer(&many)))},
		{"raise RLIMIT_CORE", call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE,
			uintptr(unsafe.Pointer(&many)))},
		{"TIOCSTI", call(unix.SYS_IOCTL, 0, unix.TIOCSTI, memory)}, {"x32 getpid", call(0x40000000 + unix.SYS_GETPID)},
		{"personality READ_IMPLIES_EXEC", call(unix.SYS_PERSONALITY, 0x400000)}, {"capset all", func() error {
			all := [2]unix.CapUserData{{Effective: ^uint32(0), Permitted: ^uint32(0)}, {Effective: 511, Permitted: 511}}
			return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &all[0])
		}},
		{"iopl", refused(172, 3)}, {"ioperm", refused(173, 0x3f8, 1, 1)},
		{"chroot", func() error { return unix.Chroot("/") }},
	}
}

func unsignedCwd() uintptr { cwd := unix.AT_FDCWD; return uintptr(cwd) }

// opened tries to open a file with flags.
func opened(path string, flags int) func() error {
	return func() error {
		f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
		if err == nil {
			err = f.Close()
		}
		return err
	}
}

// readable tries to read something of a file.
func readable(path string) func() error {
	return func() error {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Read(make([]byte, 16))
		return err
	}
}

func fileWays() []way {
	var ways []way
	for _, name := range strings.Fields(
		"sysrq-trigger kcore kmsg keys key-users latency_stats timer_list sched_debug scsi " +
			"acpi asound interrupts kallsyms modules slabinfo vmallocinfo pagetypeinfo mtrr bus/pci fs/nfsd driver irq/0/smp_affinity " +
			"1/environ 1/mem 1/root 1/cwd 1/fd 1/maps self/attr/current") {
		ways = append(ways, way{"read /proc/" + name, readable("/proc/" + name)})
	}
	for _, name := range strings.Fields(
		"sysrq-trigger sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hostname sys/kernel/panic " +
			"sys/kernel/shmmax sys/kernel/msgmax sys/vm/overcommit_memory sys/vm/drop_caches sys/fs/file-max sys/fs/binfmt_misc/register " +
			"sys/fs/mqueue/queues_max sys/net/ipv4/ip_forward sys/kernel/ns_last_pid sys/user/max_user_namespaces sys/kernel/yama/ptrace_scope " +
			"bus/pci/devices irq/0/smp_affinity fs/ext4 1/oom_score_adj self/oom_score_adj self/uid_map self/setgroups self/timerslack_ns 1/mem " +
			"self/mem self/coredump_filter self/attr/exec self/sched mtrr acpi/wakeup scsi/scsi") {
		ways = append(ways, way{"write /proc/" + name, opened("/proc/"+name, os.O_WRONLY)})
	}
	for _, name := range strings.Fields(
		"kernel/uevent_helper kernel/mm/ksm/run power/state kernel/debug kernel/security fs/cgroup/cgroup.procs " +
			"fs/cgroup/release_agent fs/cgroup/memory.max module/kernel/parameters/panic block class/net/lo/mtu devices/virtual/powercap " +
			"firmware/efi kernel/tracing/trace kernel/vmcoreinfo bus/platform/drivers_probe") {
		ways = append(ways, way{"write /sys/" + name, opened("/sys/"+name, os.O_WRONLY)},
			way{"make in /sys/" + name, func() error { return os.Mkdir("/sys/"+name+"/probe", 0o755) }})
	}
	for name, dev := range map[string]struct {
		kind         uint32
		major, minor uint32
	}{
		"mem": {unix.S_IFCHR, 1, 1}, "kmsg": {unix.S_IFCHR, 1, 11}, "port": {unix.S_IFCHR, 1, 4},
		"console": {unix.S_IFCHR, 5, 1},
		"tty1":    {unix.S_IFCHR, 4, 1}, "fuse": {unix.S_IFCHR, 10, 229}, "kvm": {unix.S_IFCHR, 10, 232},
		"tun":          {unix.S_IFCHR, 10, 200},
		"loop-control": {unix.S_IFCHR, 10, 237}, "vda": {unix.S_IFBLK, 254, 0}, "sda": {unix.S_IFBLK, 8, 0},
		"loop0": {unix.S_IFBLK, 7, 0},
	} {
		node := "/tmp/probe-" + name
		ways = append(ways, way{"make and open the device " + name, func() error {
			if err := unix.Mknod(node, dev.kind|0o666, int(unix.Mkdev(dev.major, dev.minor))); err != nil {
				return err
			}
			return opened(node, os.O_RDWR)()
		}}, way{"open /dev/" + name, opened("/dev/"+name, os.O_RDWR)})
	}
	slices.SortFunc(ways, func(a, b way) int { return strings.Compare(a.name, b.name) })
	for fd := 3; fd < 20; fd++ {
		ways = append(ways, way{fmt.Sprint("inherited descriptor ", fd), func() error {
			target, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
			if err == nil && !strings.HasPrefix(target, "anon_inode:") { // Go's own
				return nil
			}
			return errors.New("none")
		}})
	}
	return ways
}

func socketWays() []way {
	var ways []way
	for _, s := range []struct {
		name                   string
		family, kind, protocol int
	}{
		{"AF_ALG", unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, {"AF_VSOCK", unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		{"raw ICMP", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, {"raw IPv6", unix.AF_INET6, unix.SOCK_RAW,
			unix.IPPROTO_ICMPV6},
		{"AF_PACKET", unix.AF_PACKET, unix.SOCK_RAW, 0}, {"AF_KEY", unix.AF_KEY, unix.SOCK_RAW, 2},
		{"AF_XDP", unix.AF_XDP, unix.SOCK_RAW, 0},
		{"AF_TIPC", unix.AF_TIPC, unix.SOCK_SEQPACKET, 0}, {"AF_RDS", unix.AF_RDS, unix.SOCK_SEQPACKET, 0},
		{"AF_BLUETOOTH", unix.AF_BLUETOOTH, unix.SOCK_RAW, 1}, {"AF_CAN", unix.AF_CAN, unix.SOCK_RAW, 1},
		{"AF_NFC", unix.AF_NFC, unix.SOCK_RAW, 0},
		{"AF_KCM", unix.AF_KCM, unix.SOCK_DGRAM, 0}, {"AF_AX25", unix.AF_AX25, unix.SOCK_SEQPACKET, 0},
		{"AF_IPX", unix.AF_IPX, unix.SOCK_DGRAM, 0},
		{"netlink audit", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
		{"netlink netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER},
		{"netlink route", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE},
		{"netlink uevent", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT},
	} {
		ways = append(ways, way{"socket " + s.name, func() error {
			fd, err := unix.Socket(s.family, s.kind, s.protocol)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		}})
	}
	for _, path := range strings.Fields(
		"/run/docker.sock /var/run/docker.sock /run/podman/podman.sock /run/containerd/containerd.sock " +
			"/run/dbus/system_bus_socket /run/systemd/private /run/systemd/notify /dev/log /run/user/0/bus") {
		ways = append(ways, way{"connect to " + path, func() error {
			conn, err := net.Dial("unix", path)
			if err == nil {
				err = conn.Close()
			}
			return err
		}})
	}
	return ways
}

func mountWays() []way {
	memory := uintptr(unsafe.Pointer(&zeros[0]))
	mount := func(source, target, kind string, flags uintptr) func() error {
		return func() error { return unix.Mount(source, target, kind, flags, "") }
	}
	ways := []way{
		{"mount tmpfs", mount("none", "/tmp", "tmpfs", 0)}, {"mount proc", mount("none", "/tmp", "proc", 0)},
		{"mount sysfs", mount("none", "/tmp", "sysfs", 0)}, {"mount cgroup", mount("none", "/tmp", "cgroup", 0)},
		{"mount cgroup2", mount("none", "/tmp", "cgroup2", 0)}, {"mount debugfs", mount("none", "/tmp", "debugfs", 0)},
		{"mount devtmpfs", mount("none", "/tmp", "devtmpfs", 0)}, {"bind /proc", mount("/proc", "/tmp", "", unix.MS_BIND)},
		{"remount / writable", mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND)},
		{"remount /sys writable", mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND)},
		{"make / shared", mount("", "/", "", unix.MS_SHARED|unix.MS_REC)},
		{"umount /proc", func() error { return unix.Unmount("/proc", unix.MNT_DETACH) }},
		{"umount /proc/kcore", func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) }},
		{"pivot_root", func() error { return unix.PivotRoot("/", "/tmp") }},
		{"open_tree clone", call(unix.SYS_OPEN_TREE, unsignedCwd(), memory, unix.OPEN_TREE_CLONE)},
		{"fsopen", refused(unix.SYS_FSOPEN, memory)}, {"fsmount", refused(unix.SYS_FSMOUNT, 1000)},
		{"fspick", refused(unix.SYS_FSPICK, unsignedCwd(), memory)},
		{"move_mount", refused(unix.SYS_MOVE_MOUNT, 1000, memory, 1000, memory)},
		{"mount_setattr", refused(unix.SYS_MOUNT_SETATTR, 1000, memory, 0, memory, 32)},
	}
	for _, path := range strings.Fields("/proc/1/root /proc/self/cwd /.. /../../../.. /proc/1/cwd/..") {
		ways = append(ways, way{"the host's /etc/machine-id below " + path, readable(path + "/etc/machine-id")})
	}
	return ways
}

func processWays() []way {
	ways := []way{
		{"ptrace", refused(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1<<21)},
		{"see other processes", func() error {
			if name, err := os.ReadFile("/proc/2/comm"); err == nil && !strings.HasPrefix(string(name), "self") {
				return nil
			}
			return errors.New("alone")
		}},
	}
	for name, flag := range map[string]int{
		"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
		"uts": unix.CLONE_NEWUTS,
		"ipc": unix.CLONE_NEWIPC, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
	} {
		ways = append(ways, way{"unshare " + name, func() error { return unix.Unshare(flag) }},
			way{"clone " + name, func() error {
				if flag == unix.CLONE_NEWTIME {
					return errors.New("clone has no such flag: its bit is one of a signal's")
				}
				pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(flag)|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
				if e != 0 {
					return e
				}
				if pid == 0 {
					_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
				}
				return nil
			}},
			way{"join process 1's " + name + " namespace", func() error {
				f, err := os.Open("/proc/1/ns/" + map[string]string{"mount": "mnt"}[name] + strings.TrimPrefix(name, "mount"))
				if err != nil {
					return err
				}
				defer f.Close()
				return unix.Setns(int(f.Fd()), flag)
			}})
	}
	slices.SortFunc(ways, func(a, b way) int { return strings.Compare(a.name, b.name) })
	return append(ways, way{"clone3", refused(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&zeros[0])), 64)})
}
