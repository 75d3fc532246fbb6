package executor_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// addSelf puts the test program into the image as /self; its argument is what helper does.
func (b *box) addSelf() {
	b.t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	b.must(err)
	if program, err := elf.NewFile(bytes.NewReader(data)); err == nil && program.Section(".interp") != nil {
		b.t.Fatal("the test program is not static: build it with CGO_ENABLED=0")
	}
	b.must(os.WriteFile(b.path("layer/self"), data, 0o755))
}

// helper is what the test program does in a step, and as another process.
func helper(what string) int {
	switch what {
	case "seccomp":
		return trySystemCalls()
	case "probe":
		return probe()
	case "ids":
		fmt.Println(os.Getuid(), os.Geteuid())
		return 0
	case "steal-keys":
		return stealKeys()
	case "dial":
		return dial()
	case "escape":
		return escape()
	case "abstract":
		return dialAbstract()
	case "dial-own":
		return dialOwn()
	case "send-directory":
		return send("/d", unix.O_RDONLY|unix.O_DIRECTORY)
	case "send-file":
		return send("/d/file", unix.O_RDWR)
	case "hold":
		return hold()
	case "run-and-wait":
		return runAndWait()
	}
	return 2
}

// trySystemCalls makes calls that the filter denies. With arguments that make no sense they fail without it, too, but
// otherwise.
func trySystemCalls() int {
	const bad = ^uintptr(0)
	var wrong []string
	for _, c := range []struct {
		name string
		trap uintptr
		args [3]uintptr
		want unix.Errno
	}{
		{"mount", unix.SYS_MOUNT, [3]uintptr{bad, bad, bad}, unix.EPERM},
		{"unshare", unix.SYS_UNSHARE, [3]uintptr{0}, unix.EPERM}, // no flag: would succeed
		{"setns", unix.SYS_SETNS, [3]uintptr{bad}, unix.EPERM},
		{"keyctl", unix.SYS_KEYCTL, [3]uintptr{bad}, unix.EPERM},
		{"add_key", unix.SYS_ADD_KEY, [3]uintptr{bad}, unix.EPERM},
		{"request_key", unix.SYS_REQUEST_KEY, [3]uintptr{bad}, unix.EPERM},
		{"bpf", unix.SYS_BPF, [3]uintptr{bad}, unix.EPERM},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [3]uintptr{0, bad}, unix.EPERM},
		{"userfaultfd", unix.SYS_USERFAULTFD, [3]uintptr{bad}, unix.EPERM},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [3]uintptr{bad}, unix.EPERM},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [3]uintptr{bad, bad}, unix.EPERM},
		{"open_tree", unix.SYS_OPEN_TREE, [3]uintptr{bad, bad}, unix.EPERM},
		{"fsopen", unix.SYS_FSOPEN, [3]uintptr{bad}, unix.EPERM},
		{"pivot_root", unix.SYS_PIVOT_ROOT, [3]uintptr{bad}, unix.EPERM},
		{"clone3", unix.SYS_CLONE3, [3]uintptr{bad}, unix.ENOSYS},
		{"clone with a namespace", unix.SYS_CLONE, [3]uintptr{unix.CLONE_NEWUSER}, unix.EPERM},
		{"socket AF_ALG", unix.SYS_SOCKET, [3]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET}, unix.EAFNOSUPPORT},
		{"socket AF_VSOCK", unix.SYS_SOCKET, [3]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EAFNOSUPPORT},
		{"socket AF_VSOCK, high bits", unix.SYS_SOCKET, [3]uintptr{1<<32 | unix.AF_VSOCK, unix.SOCK_STREAM},
			unix.EAFNOSUPPORT},
		{"ioctl TIOCSTI", unix.SYS_IOCTL, [3]uintptr{0, unix.TIOCSTI}, unix.EPERM},
		{"ioctl TIOCSTI, high bits", unix.SYS_IOCTL, [3]uintptr{0, 1<<32 | unix.TIOCSTI}, unix.EPERM},
		{"x32", 0x40000000 + unix.SYS_GETPID, [3]uintptr{}, unix.ENOSYS},
		{"future", 2000, [3]uintptr{}, unix.ENOSYS},
		{"socket AF_UNIX", unix.SYS_SOCKET, [3]uintptr{unix.AF_UNIX, unix.SOCK_STREAM}, 0},
		{"ptrace", unix.SYS_PTRACE, [3]uintptr{bad}, unix.ESRCH},
	} {
		if _, _, e := unix.RawSyscall(c.trap, c.args[0], c.args[1], c.args[2]); e != c.want {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", c.name, e, c.want))
		}
	}
	wrong = append(wrong, try32()...)
	if len(wrong) > 0 {
		fmt.Println(strings.Join(wrong, "\n"))
		return 1
	}
	fmt.Println("ok")
	return 0
}

const agentSocket = "/run/agent.0"

// dial says hello to a socket and prints the answer.
func dial() int {
	conn, err := net.Dial("unix", agentSocket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 64)
	if _, err := conn.Write([]byte("hello")); err != nil {
		return 1
	}
	n, _ := conn.Read(buf)
	fmt.Println(string(buf[:n]))
	return 0
}

// hold opens connections until it is told to go, and keeps them all.
func hold() int {
	var all []net.Conn
	for {
		conn, err := net.Dial("unix", agentSocket)
		if err != nil || len(all) > 500 {
			select {}
		}
		all = append(all, conn)
	}
}
