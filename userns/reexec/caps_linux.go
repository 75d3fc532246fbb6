package reexec

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allCaps gives every capability that the running kernel knows.
func allCaps() ([]uintptr, error) {
	text, err := os.ReadFile(procRoot + "/sys/kernel/cap_last_cap")
	if err != nil {
		return nil, &MachineError{
			Problem: "the kernel's list of capabilities can't be read (" + err.Error() + ")",
			Remedy:  "mount proc on /proc: mount -t proc proc /proc",
			Err:     err,
		}
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 6)
	if err != nil {
		return nil, fmt.Errorf("parse cap_last_cap: %w", err)
	}
	caps := make([]uintptr, last+1)
	for i := range caps {
		caps[i] = uintptr(i)
	}
	return caps, nil
}

// onAllThreads makes a system call on every thread of the process. A cgo build,
// as for the race detector, can't reach its other threads: there it is made on
// this one alone and all is false.
func onAllThreads(trap, a1, a2 uintptr) (all bool, err error) {
	_, _, errno := syscall.AllThreadsSyscall(trap, a1, a2, 0)
	if all = errno != unix.ENOTSUP; !all {
		_, _, errno = syscall.Syscall(trap, a1, a2, 0)
	}
	if errno != 0 {
		return all, errno
	}
	return all, nil
}

// clearInheritable empties the inheritable set of all threads, and with it the
// ambient set, so that programs started from here on get capabilities by being
// root and in no other way. With all false only this thread's are empty.
func clearInheritable() (all bool, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("get capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&header)
	pin.Pin(&data)
	all, err = onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)))
	if err != nil {
		return all, fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	return all, nil
}

// dieWithParent has the kernel kill this process when the parent ends. The
// setting belongs to a thread and goes with it, so every thread gets it: the main
// thread of a Go program never ends before the process.
func dieWithParent() error {
	if _, err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	return nil
}
