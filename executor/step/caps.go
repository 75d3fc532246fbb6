package step

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/executor/internal/seccomp"
)

// Caps is a set of capabilities: bit n is the one with number n in linux/capability.h.
type Caps uint64

// capNames are the capabilities in the order of their numbers, without CAP_.
func capNames() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
		"LINUX_IMMUTABLE",
		"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
		"SYS_CHROOT",
		"SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
		"LEASE",
		"AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND",
		"AUDIT_READ",
		"PERFMON", "BPF", "CHECKPOINT_RESTORE",
	}
}

// AllCaps is every capability there is.
const AllCaps = ^Caps(0)

// DefaultCaps is the set that container engines give by default. It suffices to install software, and gives no power
// over the host.
const DefaultCaps Caps = 1<<0 | 1<<1 | // CHOWN, DAC_OVERRIDE
	1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | // FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP
	1<<10 | 1<<13 | 1<<18 | // NET_BIND_SERVICE, NET_RAW, SYS_CHROOT
	1<<27 | 1<<29 | 1<<31 // MKNOD, AUDIT_WRITE, SETFCAP

// ParseCaps reads names of capabilities, in any case, with or without CAP_; ALL is every one.
func ParseCaps(names []string) (Caps, error) {
	var set Caps
	known := capNames()
	for _, name := range names {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if short == "ALL" {
			set = AllCaps
			continue
		}
		n := slices.Index(known, short)
		if n < 0 {
			return 0, fmt.Errorf("there is no capability %q: see capabilities(7), or ALL", name)
		}
		set |= 1 << n
	}
	return set, nil
}

// Set gives the set of capabilities that the command gets.
func (s Security) Set() Caps {
	switch {
	case s.Insecure:
		return AllCaps
	case s.Caps != nil:
		return *s.Caps
	}
	return DefaultCaps
}

// SystemCalls gives the system call filter of the command.
func (s Security) SystemCalls() (*seccomp.Filter, error) {
	switch {
	case s.Insecure || s.NoFilter:
		return seccomp.KeysOnly()
	case s.Filter != nil:
		return s.Filter, nil
	}
	return seccomp.Default(s.Set().Names())
}

// NewFilter makes the system call filter for commands with a set of capabilities; nil: the usual ones. profile is one
// in JSON, as container engines read it with --security-opt seccomp=FILE; nil: the usual filter.
func NewFilter(profile []byte, caps *Caps) (*seccomp.Filter, error) {
	names := Security{Caps: caps}.Set().Names()
	if profile == nil {
		return seccomp.Default(names)
	}
	return seccomp.Parse(profile, names)
}

// Names gives the names of the set's capabilities, with CAP_, in the order of their numbers. Capabilities that capNames
// doesn't have are left out.
func (c Caps) Names() []string {
	list := []string{}
	for n, name := range capNames() {
		if c&(1<<n) != 0 {
			list = append(list, "CAP_"+name)
		}
	}
	return list
}
