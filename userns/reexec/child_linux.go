package reexec

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Child must be the first thing that main calls. In a process that [Enter] has
// made it waits for the ID maps and returns true as root of the namespace: user
// and group ID 0, all capabilities, none of them inheritable or ambient, no
// supplementary groups if the namespace allows to drop them, mounts that don't
// propagate to the host, and SIGKILL to come when the parent ends. The marker is
// gone from the environment and the pipe is closed. In any other process it does
// nothing and returns false.
//
// With an error the process is not fit to go on: main reports it and exits with
// status 125. It is a [MachineError], or matches [ErrParentGone] or [ErrBadMarker].
func Child() (inside bool, err error) {
	text, ok := os.LookupEnv(marker)
	if !ok {
		return false, nil
	}
	if err := os.Unsetenv(marker); err != nil {
		return false, fmt.Errorf("unset %s: %w", marker, err)
	}
	m, err := parseMark(text)
	if err != nil {
		return false, err
	}
	return true, m.enter()
}

// enter completes the child from inside the namespace.
func (m mark) enter() error {
	// In a cgo build some settings reach only the calling thread, so all of them must be made from the same one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if m.entered {
		if os.Getuid() != 0 {
			return ErrBadMarker
		}
		return m.bindToParent()
	}
	if err := m.await(); err != nil {
		return err
	}

	if !m.keepGroups {
		// EPERM means that the namespace denies setgroups(2). The groups stay then, as unmapped IDs that the child can
		// neither use nor lose.
		if err := dropGroups(); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("drop supplementary groups: %w", err)
		}
	}
	if err := becomeRoot(); err != nil {
		return err
	}
	all, err := clearInheritable()
	if err != nil {
		return err
	}
	if err := isolateMounts(m.propagation); err != nil {
		return err
	}

	// bindToParent comes last, because a change of user ID clears its setting.
	if err := m.bindToParent(); err != nil {
		return err
	}
	if !all {
		return m.again()
	}

	return nil
}

// again executes the program once more. In a cgo build only that ends the other threads, which still have their
// ambient capabilities.
func (m mark) again() error {
	m.entered = true
	if err := os.Setenv(marker, m.String()); err != nil {
		return fmt.Errorf("set %s: %w", marker, err)
	}
	if err := syscall.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("execute program again: %w", err)
	}
	return nil
}

// bindToParent ties this process's life to its parent's, which must be the one
// that started it and not init, come in its place.
func (m mark) bindToParent() error {
	if err := dieWithParent(); err != nil {
		return err
	}
	if os.Getppid() != m.parent {
		return fmt.Errorf("enter user namespace: %w", ErrParentGone)
	}
	return nil
}

// await blocks until the maps are in place. It reads without the runtime's
// poller, which would only be set up for this.
func (m mark) await() error {
	defer unix.Close(m.fd)
	var b [1]byte
	n, err := fsys.Retry(func() (int, error) { return unix.Read(m.fd, b[:]) })
	if err != nil {
		return fmt.Errorf("wait for ID maps: %w", err)
	}
	if n == 0 || b[0] != ready {
		return fmt.Errorf("wait for ID maps: %w", ErrParentGone)
	}
	return nil
}

// becomeRoot gives all threads user and group ID 0 of the namespace. A child of an ordinary user has them already,
// since the map maps the user's own ID to 0; only in mappings for root 0 is another ID.
func becomeRoot() error {
	if !allZero(unix.Getresgid()) {
		if err := syscall.Setresgid(0, 0, 0); err != nil {
			return fmt.Errorf("become group 0 of the namespace: %w", err)
		}
	}
	if !allZero(unix.Getresuid()) {
		if err := syscall.Setresuid(0, 0, 0); err != nil {
			return fmt.Errorf("become user 0 of the namespace: %w", err)
		}
		// After a change of user ID the process isn't dumpable, and /proc/self belongs to the host's root.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("make process dumpable again: %w", err)
		}
	}
	return nil
}

// dropGroups drops the supplementary groups. It calls setgroups, for which all threads must stop, only if there are
// any.
func dropGroups() error {
	if n, err := unix.Getgroups(); err == nil && len(n) == 0 {
		return nil
	}
	return syscall.Setgroups(nil)
}

func allZero(realID, effective, saved int) bool {
	return realID == 0 && effective == 0 && saved == 0
}

// isolateMounts keeps the child's mounts from the host. It is the first call that needs a capability, so it is the
// one that fails under a policy which lets a process create a user namespace but use no capability in it.
func isolateMounts(propagation uintptr) error {
	err := unix.Mount("", "/", "", unix.MS_REC|propagation, "")
	if err == nil {
		return nil
	}
	return Diagnose(procRoot, fmt.Errorf("set mount propagation of /: %w", err))
}
