package executor

// Capability numbers, from linux/capability.h.
const (
	capChown          = 0
	capDacOverride    = 1
	capFowner         = 3
	capFsetid         = 4
	capKill           = 5
	capSetgid         = 6
	capSetuid         = 7
	capSetpcap        = 8
	capNetBindService = 10
	capNetRaw         = 13
	capSysChroot      = 18
	capMknod          = 27
	capAuditWrite     = 29
	capSetfcap        = 31
)

// defaultCaps is the set that container engines give: what installing software needs, nothing that reaches the host.
const defaultCaps = 1<<capChown | 1<<capDacOverride | 1<<capFowner | 1<<capFsetid | 1<<capKill | 1<<capSetgid | 1<<capSetuid |
	1<<capSetpcap | 1<<capNetBindService | 1<<capNetRaw | 1<<capSysChroot | 1<<capMknod | 1<<capAuditWrite | 1<<capSetfcap
