package tests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// A denial is a system call that gets an error in place of the kernel's answer.
type denial struct {
	Call  int
	Error syscall.Errno
	// Arg and Bits keep the denial to calls whose argument Arg has one of Bits. No bits: to none.
	Arg  int    `json:",omitempty"`
	Bits uint32 `json:",omitempty"`
	// Value keeps it to calls whose argument Arg is that.
	Value uint32 `json:",omitempty"`
	// Text keeps it to calls whose argument Arg points to a text with this in it. A filter can't see that: its supervisor
	// does.
	Text string `json:",omitempty"`
	// Below keeps it to processes in a user namespace below the supervisor's. This, too, is seen by a supervisor only.
	Below bool `json:",omitempty"`
}

// deny gives calls the same error.
func deny(errno syscall.Errno, calls ...int) []denial {
	var all []denial
	for _, call := range calls {
		all = append(all, denial{Call: call, Error: errno})
	}
	return all
}

// newNamespaces are the flags of clone(2) and unshare(2).
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// engineProfile is what the default profile of container engines denies a container without privileges, with moby's
// errors.
func engineProfile() []denial {
	all := deny(unix.EPERM,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
		unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
		unix.SYS_MOUNT_SETATTR, unix.SYS_PIVOT_ROOT, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_SETHOSTNAME,
		unix.SYS_SETDOMAINNAME, unix.SYS_KEYCTL,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_BPF, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERF_EVENT_OPEN,
		unix.SYS_USERFAULTFD)
	all = append(all, deny(unix.ENOSYS, unix.SYS_CLONE3)...)
	return append(all, denial{Call: unix.SYS_CLONE, Error: unix.EPERM, Bits: newNamespaces})
}

// newMountAPI is what engines' profiles of before 2020 don't know.
func newMountAPI(errno syscall.Errno) []denial {
	return deny(errno, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_OPEN_TREE,
		unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR)
}

// appArmorRestriction is what kernel.apparmor_restrict_unprivileged_userns does on Ubuntu: anybody can make a user
// namespace, and has no capability in it.
func appArmorRestriction() []denial {
	all := append(deny(unix.EPERM, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_SETHOSTNAME, unix.SYS_SETGROUPS),
		newMountAPI(unix.EPERM)...)
	all = append(all, denial{Call: unix.SYS_CLONE, Error: unix.EPERM, Bits: newNamespaces &^ unix.CLONE_NEWUSER},
		denial{Call: unix.SYS_UNSHARE, Error: unix.EPERM, Bits: newNamespaces &^ unix.CLONE_NEWUSER})
	for i := range all {
		all[i].Below = true
	}
	return all
}

// filterWord is the first argument of this program when it is to start a command below denials.
const filterWord = "run-below-filter"

// filtered is the command line that starts a command, as root, with system calls denied to it.
func filtered(t *testing.T, denials []denial, command []string) []string {
	t.Helper()
	if len(denials) == 0 {
		return command
	}
	text, err := json.Marshal(denials)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{suite.self, filterWord, string(text)}, command...)
}

// runBelowFilter is this program in its part as supervisor: it starts itself once more, which installs the filter and
// becomes the command. args are the denials and the command. It ends with the command's status.
func runBelowFilter(args []string) (int, error) {
	var denials []denial
	if err := json.Unmarshal([]byte(args[0]), &denials); err != nil {
		return 1, err
	}
	if fd := os.Getenv(filterSocket); fd != "" {
		return 1, becomeFiltered(denials, args[1:])
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1, err
	}
	runtime.LockOSThread() // the child dies with the thread that started it
	cmd := exec.Command("/proc/self/exe", append([]string{filterWord}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), filterSocket+"=3")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "socket")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	_ = cmd.ExtraFiles[0].Close() // else a child that fails would be waited for without end
	if err := supervise(pair[0], denials); err != nil {
		return 1, errors.Join(err, cmd.Wait())
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return 1, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// filterSocket is the environment variable with the descriptor by which the supervisor gets its listener.
const filterSocket = "COOPER_E2E_FILTER"

// becomeFiltered installs the filter on this thread, and executes the command from it.
func becomeFiltered(denials []denial, command []string) error {
	runtime.LockOSThread()
	filter := assemble(denials)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	listener, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("install filter: %w", errno)
	}
	runtime.KeepAlive(filter)
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(3)
	unix.CloseOnExec(int(listener))
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	if err := os.Unsetenv(filterSocket); err != nil {
		return err
	}
	return syscall.Exec(path, command, os.Environ())
}

// Offsets in struct seccomp_data.
const (
	dataCall = 0
	dataArgs = 16
)

// assemble makes a filter: for each denial a few instructions that jump over the rest of it when it isn't that call.
func assemble(denials []denial) []unix.SockFilter {
	load := func(offset int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}
	}
	skip := func(kind uint16, k uint32, n uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, Jf: n, K: k}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	var all []unix.SockFilter
	for _, d := range denials {
		var body []unix.SockFilter
		switch arg := dataArgs + 8*d.Arg; {
		case d.Bits != 0:
			body = append(body, load(arg), skip(unix.BPF_JSET, d.Bits, 1))
		case d.Value != 0:
			body = append(body, load(arg), skip(unix.BPF_JEQ, d.Value, 1))
		}
		if d.Text != "" || d.Below {
			body = append(body, answer(unix.SECCOMP_RET_USER_NOTIF))
		} else {
			body = append(body, answer(unix.SECCOMP_RET_ERRNO|uint32(d.Error)))
		}
		all = append(append(all, load(dataCall), skip(unix.BPF_JEQ, uint32(d.Call), uint8(len(body)))), body...)
	}
	return append(all, answer(unix.SECCOMP_RET_ALLOW))
}

// notification is struct seccomp_notif, reply struct seccomp_notif_resp.
type notification struct {
	ID         uint64
	PID, Flags uint32
	Call, Arch uint32
	IP         uint64
	Args       [6]uint64
}

type reply struct {
	ID    uint64
	Value int64
	Error int32
	Flags uint32
}

// supervise answers for the kernel until nobody is left below the filter.
func supervise(socket int, denials []denial) error {
	buf := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), buf, 0)
	if err != nil || n == 0 {
		return errors.Join(errors.New("the filter was not installed"), err)
	}
	messages, err := unix.ParseSocketControlMessage(buf[:n])
	if err != nil {
		return err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return err
	}
	for {
		poll := []unix.PollFd{{Fd: int32(fds[0]), Events: unix.POLLIN}}
		if _, err := fsys.Retry(func() (int, error) { return unix.Poll(poll, -1) }); err != nil {
			return err
		}
		if poll[0].Revents&unix.POLLHUP != 0 {
			return nil
		}
		var call notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), unix.SECCOMP_IOCTL_NOTIF_RECV,
			uintptr(unsafe.Pointer(&call))); errno != 0 {
			continue // the process is gone
		}
		r := reply{ID: call.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if i := slices.IndexFunc(denials, func(d denial) bool { return d.meets(call, own) }); i >= 0 {
			r.Flags, r.Error = 0, -int32(denials[i].Error)
		}
		// An error means that the process is gone.
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
	}
}

// meets reports whether a call is the one to be denied. own is the supervisor's user namespace.
func (d denial) meets(call notification, own string) bool {
	arg := call.Args[d.Arg]
	if uint32(d.Call) != call.Call || d.Bits != 0 && uint32(arg)&d.Bits == 0 || d.Value != 0 && uint32(arg) != d.Value {
		return false
	}
	if d.Below {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", call.PID))
		return err == nil && theirs != own
	}
	return strings.Contains(textAt(int(call.PID), uintptr(arg)), d.Text)
}

// textAt is the string at an address of a process, up to two pages of it.
func textAt(pid int, address uintptr) string {
	var text []byte
	size := os.Getpagesize()
	for len(text) <= size {
		// Not beyond the end of a page: the next one may not be there.
		buf := make([]byte, size-int(address)%size)
		n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}},
			[]unix.RemoteIovec{{Base: address, Len: len(buf)}}, 0)
		if err != nil {
			return ""
		}
		head, _, whole := bytes.Cut(buf[:n], []byte{0})
		if text = append(text, head...); whole {
			break
		}
		address += uintptr(n)
	}
	return string(text)
}
