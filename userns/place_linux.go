package userns

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// initialLink is the target of /proc/PID/ns/user in the initial user namespace (PROC_USER_INIT_INO of the kernel). It
// is the same in every PID namespace.
const initialLink = "user:[4026531837]"

// InInitial reports whether this process, whose mapping is m, is in the initial user namespace. The mapping alone
// doesn't tell, since a namespace below can have all IDs too.
func InInitial(m Mapping) bool {
	link, err := os.Readlink("/proc/self/ns/user")
	return m.Initial() && (err != nil || link == initialLink)
}

// HasCap reports whether this thread may use a capability, CAP_* of package unix.
func HasCap(c int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}

// MayMount reports whether this process has the right to change the mounts that it sees: CAP_SYS_ADMIN in the user
// namespace that owns its mount namespace. Root of a container mostly hasn't got that right, but gets it in a namespace
// below its own. Whether filters or security modules forbid mounts besides isn't looked at. If the kernel doesn't tell
// which namespace owns the mount namespace, the capability alone decides.
func MayMount() bool {
	if !HasCap(unix.CAP_SYS_ADMIN) {
		return false
	}
	f, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return true
	}
	defer f.Close()
	owner, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return !errors.Is(err, unix.EPERM) // EPERM: a namespace above this one owns it
	}
	_ = unix.Close(owner)
	return true
}

// IsRoot reports whether this process is root of the user namespace that it is in, be it the initial one or not.
func IsRoot() bool { return os.Geteuid() == 0 }

// RootStays reports whether this process is root and may mount, so that its builds run in the user namespace that it is
// in. Builds of any other process enter a namespace below that one.
func RootStays() bool { return IsRoot() && MayMount() }
