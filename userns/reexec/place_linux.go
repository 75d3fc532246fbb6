package reexec

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// initialLink is what the kernel calls the initial user namespace, wherever it is seen from (PROC_USER_INIT_INO).
const initialLink = "user:[4026531837]"

// Initial reports whether this process, whose mapping is m, is in the initial user namespace. The mapping alone doesn't tell: a namespace
// below can have all IDs, too.
func Initial(m userns.Mapping) bool {
	link, err := os.Readlink(procRoot + "/self/ns/user")
	return m.Initial() && (err != nil || link == initialLink)
}

// MayMount reports whether this process has the right to change the mounts that it sees: CAP_SYS_ADMIN in the user namespace that its mount
// namespace belongs to. Root of a container mostly hasn't, and gets it in a namespace below its own. What filters and security modules
// forbid besides is another matter. Where the kernel doesn't say who owns the mount namespace, the capability decides.
func MayMount() bool {
	if !hasCap(unix.CAP_SYS_ADMIN) {
		return false
	}
	f, err := os.Open(procRoot + "/self/ns/mnt")
	if err != nil {
		return true
	}
	defer f.Close()
	owner, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return !errors.Is(err, unix.EPERM) // it belongs to a namespace above
	}
	_ = unix.Close(owner)
	return true
}
