package container

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/step"
)

// CanSetGroups says whether the step's supplementary groups can be set. They can't in a user namespace that an ordinary
// user has made without newgidmap, nor in one below it.
func (c *Container) CanSetGroups() bool {
	if c.Step.UserNS != nil {
		return !c.Step.UserNS.NoGroups
	}
	b, err := os.ReadFile("/proc/self/setgroups")
	return err != nil || strings.TrimSpace(string(b)) != "deny"
}

// LastCap is the highest capability that the kernel knows.
func LastCap() int {
	last := unix.CAP_LAST_CAP
	for last < 63 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(last+1), 0, 0, 0); err != nil {
			break
		}
		last++
	}
	return last
}

// Permitted is the set of capabilities that the step can get: all that the kernel knows in a new user namespace, else
// those of this process.
func (c *Container) Permitted() step.Caps {
	if c.Step.Mapping != nil {
		return step.AllCaps >> (63 - LastCap())
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return 0
	}
	return step.Caps(caps[0].Permitted) | step.Caps(caps[1].Permitted)<<32
}

// Exists says that this machine has something at a path, which is relative to the caller's root.
func Exists(name string) bool {
	var st unix.Stat_t
	return unix.Lstat("/"+name, &st) == nil
}
