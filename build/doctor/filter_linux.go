package doctor

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const filterFix = "start the container around this with --security-opt seccomp=unconfined (Kubernetes: securityContext.seccompProfile.type: Unconfined), " +
	"or with a profile that allows these calls"

// denied names the system calls of a build that a seccomp filter answers in the kernel's place. It makes each with
// arguments that the kernel refuses, and knows by the error who has answered.
func denied() []string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil || !contains(string(status), "Seccomp", "2") {
		return nil
	}
	mayMount := hasSysAdmin()
	const bad = ^uintptr(0)
	var names []string
	for _, c := range []struct {
		name string
		call uintptr
		args [3]uintptr
		want syscall.Errno
		// admin says that the kernel looks at the caller's right to mount before it looks at the arguments.
		admin bool
	}{
		{"clone", unix.SYS_CLONE, [3]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS}, unix.EINVAL, false},
		{"unshare", unix.SYS_UNSHARE, [3]uintptr{unix.CLONE_NEWNS | 1}, unix.EINVAL, false},
		{"mount", unix.SYS_MOUNT, [3]uintptr{bad, bad, bad}, unix.EFAULT, false},
		{"fsopen", unix.SYS_FSOPEN, [3]uintptr{bad}, unix.EFAULT, true},
		{"fsconfig", unix.SYS_FSCONFIG, [3]uintptr{bad}, unix.EINVAL, false},
		{"fsmount", unix.SYS_FSMOUNT, [3]uintptr{bad, bad}, unix.EINVAL, true},
		{"open_tree", unix.SYS_OPEN_TREE, [3]uintptr{bad, bad}, unix.EFAULT, false},
		{"move_mount", unix.SYS_MOVE_MOUNT, [3]uintptr{bad, bad, bad}, unix.EFAULT, true},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, [3]uintptr{bad, bad, 1}, unix.EINVAL, false},
		{"pivot_root", unix.SYS_PIVOT_ROOT, [3]uintptr{bad, bad}, unix.EFAULT, true},
		{"setns", unix.SYS_SETNS, [3]uintptr{bad}, unix.EBADF, false},
		{"seccomp", unix.SYS_SECCOMP, [3]uintptr{1 /* SECCOMP_SET_MODE_FILTER */}, unix.EFAULT, false},
	} {
		if c.admin && !mayMount {
			continue
		}
		if _, _, errno := unix.RawSyscall6(c.call, c.args[0], c.args[1], c.args[2], 0, 0, 0); errno != c.want {
			names = append(names, c.name)
		}
	}
	return names
}

func hasSysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// blame gives all that went wrong here its likely reason, if system calls are denied.
func (in *Inside) blame(denied []string) {
	if len(denied) == 0 {
		return
	}
	for _, o := range []*Outcome{&in.Setgroups, &in.Overlay, &in.Volatile, &in.IDMap, &in.Proc, &in.Seccomp, &in.Store,
		&in.Step} {
		if o.Tried && o.Problem != "" {
			o.Problem += "; a seccomp filter denies " + strings.Join(denied, ", ")
			o.Fix = filterFix
		}
	}
}
