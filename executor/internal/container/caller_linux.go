package container

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/step"
)

// CanSetGroups says whether supplementary groups can be set. In a namespace that an ordinary user has made for itself
// they can't, nor below.
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

// Permitted is what the caller has to give. The root of a new user namespace has all that the kernel knows.
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
