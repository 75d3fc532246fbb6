package seccomp

import "golang.org/x/sys/unix"

// socketcall is how older 32-bit programs make sockets. The address family is in memory there, out of the filter's
// sight, so making sockets this way is refused; the rest of it is not.
const (
	socketcall386       = 102
	socketcallSocket386 = 1
)

func abis() []abi {
	return []abi{
		{
			arch: unix.AUDIT_ARCH_X86_64,
			denied: []call{
				{"acct", unix.SYS_ACCT}, {"add_key", unix.SYS_ADD_KEY}, {"bpf", unix.SYS_BPF},
				{"clock_adjtime", unix.SYS_CLOCK_ADJTIME},
				{"clock_settime", unix.SYS_CLOCK_SETTIME},
				{"create_module", unix.SYS_CREATE_MODULE}, {"delete_module", unix.SYS_DELETE_MODULE},
				{"fanotify_init", unix.SYS_FANOTIFY_INIT}, {"finit_module", unix.SYS_FINIT_MODULE},
				{"get_kernel_syms", unix.SYS_GET_KERNEL_SYMS}, {"init_module", unix.SYS_INIT_MODULE}, {"ioperm", unix.SYS_IOPERM},
				{"iopl", unix.SYS_IOPL},
				{"kcmp", unix.SYS_KCMP},
				{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD}, {"kexec_load", unix.SYS_KEXEC_LOAD}, {"keyctl", unix.SYS_KEYCTL},
				{"lookup_dcookie", unix.SYS_LOOKUP_DCOOKIE},
				{"mount", unix.SYS_MOUNT},
				{"move_pages", unix.SYS_MOVE_PAGES}, {"nfsservctl", unix.SYS_NFSSERVCTL},
				{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT}, {"perf_event_open", unix.SYS_PERF_EVENT_OPEN},
				{"pivot_root", unix.SYS_PIVOT_ROOT}, {"query_module", unix.SYS_QUERY_MODULE}, {"quotactl", unix.SYS_QUOTACTL},
				{"reboot", unix.SYS_REBOOT},
				{"request_key", unix.SYS_REQUEST_KEY},
				{"setns", unix.SYS_SETNS}, {"settimeofday", unix.SYS_SETTIMEOFDAY}, {"swapoff", unix.SYS_SWAPOFF},
				{"swapon", unix.SYS_SWAPON},
				{"sysfs", unix.SYS_SYSFS},
				{"_sysctl", unix.SYS__SYSCTL}, {"syslog", unix.SYS_SYSLOG}, {"umount2", unix.SYS_UMOUNT2},
				{"unshare", unix.SYS_UNSHARE},
				{"uselib", unix.SYS_USELIB},
				{"userfaultfd", unix.SYS_USERFAULTFD}, {"ustat", unix.SYS_USTAT}, {"vhangup", unix.SYS_VHANGUP},
			},
			args: commonArgs(numbers{clone: unix.SYS_CLONE, socket: unix.SYS_SOCKET, ioctl: unix.SYS_IOCTL}),
		},
		{
			arch: unix.AUDIT_ARCH_I386,
			denied: []call{
				{"acct", 51}, {"add_key", 286}, {"bpf", 357}, {"clock_adjtime", 343},
				{"clock_adjtime64", 405}, {"clock_settime", 264}, {"clock_settime64", 404},
				{"create_module", 127}, {"delete_module", 129}, {"fanotify_init", 338}, {"finit_module", 350},
				{"get_kernel_syms", 130}, {"init_module", 128}, {"ioperm", 101}, {"iopl", 110},
				{"kcmp", 349},
				{"kexec_load", 283}, {"keyctl", 288}, {"lookup_dcookie", 253}, {"mount", 21},
				{"move_pages", 317}, {"nfsservctl", 169}, {"open_by_handle_at", 342}, {"perf_event_open", 336},
				{"pivot_root", 217}, {"query_module", 167}, {"quotactl", 131}, {"reboot", 88},
				{"request_key", 287},
				{"setns", 346}, {"settimeofday", 79}, {"stime", 25}, {"swapoff", 115},
				{"swapon", 87}, {"sysfs", 135},
				{"_sysctl", 149}, {"syslog", 103}, {"umount", 22}, {"umount2", 52},
				{"unshare", 310}, {"uselib", 86},
				{"userfaultfd", 374}, {"ustat", 62}, {"vhangup", 111}, {"vm86", 166},
				{"vm86old", 113},
			},
			args: append(commonArgs(numbers{clone: 120, socket: 359, ioctl: 54}),
				argRule{call: call{socketcall, socketcall386}, arg: 0, values: []uint32{socketcallSocket386}, errno: unix.ENOSYS}),
		},
	}
}
