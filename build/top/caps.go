package top

import (
	"fmt"
	"strings"
)

// capNames are the capabilities by number (linux/capability.h).
const capNames = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
	"NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT " +
	"SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG " +
	"WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

// caps names a set of capabilities as podman does: "none", "full", or a list.
func (v shown) caps(set string) string {
	bits := v.Caps[set]
	names := strings.Fields(capNames)
	var have []string
	for i := range 64 {
		if bits&(1<<i) == 0 {
			continue
		}
		if i < len(names) {
			have = append(have, names[i])
		} else {
			have = append(have, fmt.Sprintf("CAP_%d", i))
		}
	}
	switch {
	case len(have) == 0:
		return "none"
	case len(have) >= len(names):
		return "full"
	}
	return strings.Join(have, ",")
}
