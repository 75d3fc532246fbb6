package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/userns"
)

// envTask tells a process that doctor has started what to try: TASK, or TASK:DESCRIPTOR for one that answers.
const envTask = "COOPER_INTERNAL_DOCTOR"

// The tasks.
const (
	taskBare       = "bare"        // mounts can be changed in a namespace of one ID
	taskBareInside = "bare-inside" // all that can be tried with one ID
	taskInside     = "inside"      // all there is to try
	taskProc       = "proc"
	taskSeccomp    = "seccomp"
	taskSetgroups  = "setgroups"
)

// Task gives what this process was started for by another that runs [Probe]; "" if it is none of those.
func Task() string { return os.Getenv(envTask) }

// RunTask does what this process was started for. The error is what the attempt gave, for standard error.
func RunTask(ctx context.Context, o store.Options) error {
	task, fd, _ := strings.Cut(Task(), ":")
	if err := os.Unsetenv(envTask); err != nil {
		return err
	}
	switch task {
	case taskBare:
		return privateMounts()
	case taskBareInside:
		if err := privateMounts(); err != nil {
			return err
		}
		return answerLook(ctx, fd, insideOptions{bare: true, userXattr: true, sample: sampleOf(0)})
	case taskInside:
		own, err := userns.CurrentMapping()
		if err != nil {
			return err
		}
		sample := sampleOf(min(own.UIDs.Highest(), own.GIDs.Highest(), 1))
		return answerLook(ctx, fd, insideOptions{store: o, userXattr: true, sample: sample})
	case taskProc:
		return mountProc()
	case taskSeccomp:
		return filterNothing()
	case taskSetgroups:
		return setGroups()
	}
	return fmt.Errorf("%s is set, but not by this program; unset it", envTask)
}

// sampleOf maps container ID 0 to one ID of this namespace.
func sampleOf(id uint32) userns.Mapping {
	m := userns.Map{{Host: id, Length: 1}}
	return userns.Mapping{UIDs: m, GIDs: m}
}

// answerLook answers with what can be seen; the error is why it was interrupted.
func answerLook(ctx context.Context, fd string, o insideOptions) error {
	in := lookInside(ctx, o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return answer(fd, in)
}

func answer(fd string, in Inside) error {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return fmt.Errorf("%s is set, but not by this program; unset it", envTask)
	}
	f := os.NewFile(uintptr(n), "answer")
	return errors.Join(json.NewEncoder(f).Encode(in), f.Close())
}

// privateMounts keeps mounts from the host, which is also the first thing that needs a capability in the namespace.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return diagnosed(fmt.Errorf("set mount propagation of /: %w", err))
	}
	return nil
}

// mountProc is for a process in a pid and mount namespace of its own.
func mountProc() error {
	if err := privateMounts(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc in a new pid namespace: %w", err)
	}
	return nil
}

// filterNothing installs a filter that allows every call, on a thread that goes with the process.
func filterNothing() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000} // SECCOMP_RET_ALLOW
	prog := unix.SockFprog{Len: 1, Filter: &allow}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP,
		1 /* SECCOMP_SET_MODE_FILTER */, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("install a system call filter: %w", errno)
	}
	runtime.KeepAlive(&prog)
	return nil
}

func setGroups() error {
	if err := syscall.Setgroups([]int{0}); err != nil {
		return fmt.Errorf("set supplementary groups: %w", err)
	}
	return nil
}

func cloned(flags uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: unix.SIGKILL}
}
