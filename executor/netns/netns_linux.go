package netns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// Enter moves the calling thread, which has CAP_SYS_ADMIN, into a new network namespace in which it may do everything,
// and opens that. The caller closes it.
func Enter() (*os.File, error) {
	if mayConfigure() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return nil, fmt.Errorf("make a network namespace: %w", err)
		}
		return os.Open("/proc/thread-self/ns/net")
	}
	ns, err := below()
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, errors.Join(fmt.Errorf("enter a network namespace: %w", err), ns.Close())
	}
	return ns, nil
}

// below makes a network namespace that belongs to a user namespace of its own. Who has made a user namespace has all
// capabilities over what belongs to it, without being in it.
func below() (*os.File, error) {
	var p rawproc.Program
	const cwd = ^uintptr(99) // AT_FDCWD
	// The child opens it, into the descriptors that it shares: the kernel may keep this process from looking at another.
	at := p.Add(rawproc.Op{Doing: "open it", Trap: unix.SYS_OPENAT,
		Args: [6]uintptr{cwd, p.String("/proc/self/ns/net"), unix.O_RDONLY | unix.O_CLOEXEC}})
	child, err := p.Start(unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_FILES)
	if err != nil {
		return nil, err
	}
	if _, _, err := child.Reap(); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(p.Result(at)), "network namespace"), nil
}

// mayConfigure says whether the calling thread has CAP_NET_ADMIN.
func mayConfigure() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	return unix.Capget(&header, &have[0]) == nil && have[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}
