package executor

import "golang.org/x/sys/unix"

func abis() []abi {
	return []abi{
		{
			arch: unix.AUDIT_ARCH_AARCH64,
			denied: []uint32{
				unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME,
				unix.SYS_DELETE_MODULE, unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_INIT_MODULE, unix.SYS_KCMP,
				unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_MOUNT,
				unix.SYS_MOVE_PAGES, unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERF_EVENT_OPEN,
				unix.SYS_PIVOT_ROOT, unix.SYS_QUOTACTL, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY, unix.SYS_SETNS,
				unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
				unix.SYS_UNSHARE, unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
			},
			args: commonArgs(numbers{clone: unix.SYS_CLONE, socket: unix.SYS_SOCKET, ioctl: unix.SYS_IOCTL}),
		},
		{
			arch:    unix.AUDIT_ARCH_ARM,
			private: 0xf0000,
			denied: []uint32{
				51, 309, 386, 372, 405, 262, 404, // acct, add_key, bpf, clock_adjtime, clock_adjtime64, clock_settime, clock_settime64
				129, 367, 379, 128, 378, // delete_module, fanotify_init, finit_module, init_module, kcmp
				401, 347, 311, 249, 21, // kexec_file_load, kexec_load, keyctl, lookup_dcookie, mount
				344, 169, 371, 364, // move_pages, nfsservctl, open_by_handle_at, perf_event_open
				218, 131, 88, 310, // pivot_root, quotactl, reboot, request_key
				375, 79, 115, 87, 135, // setns, settimeofday, swapoff, swapon, sysfs
				149, 103, 52, 337, 86, // _sysctl, syslog, umount2, unshare, uselib
				388, 62, 111, // userfaultfd, ustat, vhangup
			},
			// The EABI has no socketcall, and the kernel's OABI support is not built for 64-bit kernels.
			args: commonArgs(numbers{clone: 120, socket: 281, ioctl: 54}),
		},
	}
}
