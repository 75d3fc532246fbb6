package seccomp

import "golang.org/x/sys/unix"

func abis() []abi {
	return []abi{
		{
			arch: unix.AUDIT_ARCH_AARCH64,
			denied: []call{
				{"acct", unix.SYS_ACCT}, {"add_key", unix.SYS_ADD_KEY}, {"bpf", unix.SYS_BPF},
				{"clock_adjtime", unix.SYS_CLOCK_ADJTIME},
				{"clock_settime", unix.SYS_CLOCK_SETTIME},
				{"delete_module", unix.SYS_DELETE_MODULE}, {"fanotify_init", unix.SYS_FANOTIFY_INIT},
				{"finit_module", unix.SYS_FINIT_MODULE}, {"init_module", unix.SYS_INIT_MODULE},
				{"kcmp", unix.SYS_KCMP},
				{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD}, {"kexec_load", unix.SYS_KEXEC_LOAD}, {"keyctl", unix.SYS_KEYCTL},
				{"lookup_dcookie", unix.SYS_LOOKUP_DCOOKIE},
				{"mount", unix.SYS_MOUNT},
				{"move_pages", unix.SYS_MOVE_PAGES}, {"nfsservctl", unix.SYS_NFSSERVCTL},
				{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT}, {"perf_event_open", unix.SYS_PERF_EVENT_OPEN},
				{"pivot_root", unix.SYS_PIVOT_ROOT}, {"quotactl", unix.SYS_QUOTACTL}, {"reboot", unix.SYS_REBOOT},
				{"request_key", unix.SYS_REQUEST_KEY},
				{"setns", unix.SYS_SETNS},
				{"settimeofday", unix.SYS_SETTIMEOFDAY}, {"swapoff", unix.SYS_SWAPOFF}, {"swapon", unix.SYS_SWAPON},
				{"syslog", unix.SYS_SYSLOG},
				{"umount2", unix.SYS_UMOUNT2},
				{"unshare", unix.SYS_UNSHARE}, {"userfaultfd", unix.SYS_USERFAULTFD}, {"vhangup", unix.SYS_VHANGUP},
			},
			args: commonArgs(numbers{clone: unix.SYS_CLONE, socket: unix.SYS_SOCKET, ioctl: unix.SYS_IOCTL}),
		},
		{
			arch:    unix.AUDIT_ARCH_ARM,
			private: 0xf0000,
			denied: []call{
				{"acct", 51}, {"add_key", 309}, {"bpf", 386}, {"clock_adjtime", 372},
				{"clock_adjtime64", 405}, {"clock_settime", 262}, {"clock_settime64", 404},
				{"delete_module", 129}, {"fanotify_init", 367}, {"finit_module", 379}, {"init_module", 128},
				{"kcmp", 378},
				{"kexec_file_load", 401}, {"kexec_load", 347}, {"keyctl", 311}, {"lookup_dcookie", 249},
				{"mount", 21},
				{"move_pages", 344}, {"nfsservctl", 169}, {"open_by_handle_at", 371}, {"perf_event_open", 364},
				{"pivot_root", 218}, {"quotactl", 131}, {"reboot", 88}, {"request_key", 310},
				{"setns", 375}, {"settimeofday", 79}, {"swapoff", 115}, {"swapon", 87},
				{"sysfs", 135},
				{"_sysctl", 149}, {"syslog", 103}, {"umount2", 52}, {"unshare", 337},
				{"uselib", 86},
				{"userfaultfd", 388}, {"ustat", 62}, {"vhangup", 111},
			},
			// The EABI has no socketcall, and the kernel's OABI support is not built for 64-bit kernels.
			args: commonArgs(numbers{clone: 120, socket: 281, ioctl: 54}),
		},
	}
}
