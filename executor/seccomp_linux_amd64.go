package executor

import "golang.org/x/sys/unix"

// socketcall is how older 32-bit programs make sockets. The address family is in memory there, out of the filter's sight, so making
// sockets this way is refused; the rest of it is not.
const (
	socketcall386       = 102
	socketcallSocket386 = 1
)

func abis() []abi {
	return []abi{
		{
			arch: unix.AUDIT_ARCH_X86_64,
			denied: []uint32{
				unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME,
				unix.SYS_CREATE_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE,
				unix.SYS_GET_KERNEL_SYMS, unix.SYS_INIT_MODULE, unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_KCMP,
				unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MOUNT,
				unix.SYS_MOVE_PAGES, unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERF_EVENT_OPEN,
				unix.SYS_PIVOT_ROOT, unix.SYS_QUERY_MODULE, unix.SYS_QUOTACTL, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY,
				unix.SYS_SETNS, unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSFS,
				unix.SYS__SYSCTL, unix.SYS_SYSLOG, unix.SYS_UMOUNT2, unix.SYS_UNSHARE, unix.SYS_USELIB,
				unix.SYS_USERFAULTFD, unix.SYS_USTAT, unix.SYS_VHANGUP,
			},
			args: commonArgs(numbers{clone: unix.SYS_CLONE, socket: unix.SYS_SOCKET, ioctl: unix.SYS_IOCTL}),
		},
		{
			arch: unix.AUDIT_ARCH_I386,
			denied: []uint32{
				51, 286, 357, 343, 405, 264, 404, // acct, add_key, bpf, clock_adjtime, clock_adjtime64, clock_settime, clock_settime64
				127, 129, 338, 350, // create_module, delete_module, fanotify_init, finit_module
				130, 128, 101, 110, 349, // get_kernel_syms, init_module, ioperm, iopl, kcmp
				283, 288, 253, 21, // kexec_load, keyctl, lookup_dcookie, mount
				317, 169, 342, 336, // move_pages, nfsservctl, open_by_handle_at, perf_event_open
				217, 167, 131, 88, 287, // pivot_root, query_module, quotactl, reboot, request_key
				346, 79, 25, 115, 87, 135, // setns, settimeofday, stime, swapoff, swapon, sysfs
				149, 103, 22, 52, 310, 86, // _sysctl, syslog, umount, umount2, unshare, uselib
				374, 62, 111, 166, 113, // userfaultfd, ustat, vhangup, vm86, vm86old
			},
			args: append(commonArgs(numbers{clone: 120, socket: 359, ioctl: 54}),
				argRule{call: socketcall386, arg: 0, values: []uint32{socketcallSocket386}, errno: unix.ENOSYS}),
		},
	}
}
