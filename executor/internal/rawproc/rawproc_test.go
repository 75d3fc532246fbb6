package rawproc_test

import (
	"errors"
	"io"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

func TestChildExecutesProgramWithArgumentsAndEnvironment(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p rawproc.Program
	p.Add(rawproc.Op{Doing: "dup", Trap: unix.SYS_DUP3, Args: [6]uintptr{w.Fd(), 1, 0}})
	// Everyone may look into the root directory, so that it is missing and nothing else, wherever temporary files are.
	p.Add(rawproc.Op{Doing: "missing", Trap: unix.SYS_EXECVE, Args: [6]uintptr{p.String("/no-such-program-of-cooper")},
		Ignore: rawproc.Ignoring(unix.ENOENT)})
	p.Add(rawproc.Op{Doing: "exec", Trap: unix.SYS_EXECVE, Args: [6]uintptr{
		p.String("/bin/sh"), p.Strings([]string{"sh", "-c", "echo $A; exit 7"}), p.Strings([]string{"A=b c"}),
	}})
	c, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil || string(out) != "b c\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if err := c.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	status, _, err := c.Reap()
	if err != nil || status.ExitStatus() != 7 {
		t.Errorf("status %v, %v", status, err)
	}
	if got := p.Result(1); got != -int(unix.ENOENT) {
		t.Errorf("result of the first exec %d", got)
	}
}

func TestFailingCallIsReported(t *testing.T) {
	tests := map[string]struct {
		op   rawproc.Op
		want unix.Errno
	}{
		"errno": {rawproc.Op{Doing: "x", Trap: unix.SYS_CLOSE, Args: [6]uintptr{999999}}, unix.EBADF},
		"other errno": {rawproc.Op{Doing: "x", Trap: unix.SYS_CLOSE, Args: [6]uintptr{999999},
			Ignore: rawproc.Ignoring(unix.ENOENT)}, unix.EBADF},
		"result not zero": {rawproc.Op{Doing: "x", Trap: unix.SYS_GETPID, WantZero: true}, 0},
		"errno of 64 or up": {rawproc.Op{Doing: "x", Trap: unix.SYS_BIND, Args: [6]uintptr{0, 0, 0},
			Ignore: rawproc.Ignoring(unix.EBADF)}, unix.ENOTSOCK},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var p rawproc.Program
			p.Add(rawproc.Op{Doing: "ok", Trap: unix.SYS_GETPID})
			p.Add(test.op)
			p.Add(rawproc.Op{Doing: "never", Trap: unix.SYS_CLOSE, Args: [6]uintptr{999998}})
			c, err := p.Start(0)
			if err != nil {
				t.Fatal(err)
			}
			var f *rawproc.Failure
			if _, _, err := c.Reap(); !errors.As(err, &f) || f.Op != 1 || f.Errno != test.want {
				t.Errorf("got %v, want errno %v", err, test.want)
			}
		})
	}
}

func TestResultFeedsLaterCall(t *testing.T) {
	var p rawproc.Program
	path := p.String("/")
	open := p.Add(rawproc.Op{Doing: "open", Trap: unix.SYS_OPENAT, Args: [6]uintptr{^uintptr(99), path, unix.O_PATH}})
	p.AddFed(rawproc.Op{Doing: "chdir", Trap: unix.SYS_FCHDIR}, open, 0)
	buf := make([]byte, 16)
	p.Add(rawproc.Op{Doing: "getcwd", Trap: unix.SYS_GETCWD, Args: [6]uintptr{p.Bytes(buf), 16}})
	p.Add(rawproc.Op{Doing: "ignored", Trap: unix.SYS_BIND, Args: [6]uintptr{0}, Ignore: rawproc.IgnoreAll})
	c, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Reap(); err != nil {
		t.Fatal(err)
	}
	if string(buf[:2]) != "/\x00" {
		t.Errorf("cwd %q", buf)
	}
}

func TestSignalActionsAreDefault(t *testing.T) {
	for name, use := range map[string]func(*rawproc.Program){"clone3": func(*rawproc.Program) {},
		"clone": (*rawproc.Program).UseClone} {
		t.Run(name, func(t *testing.T) {
			var p rawproc.Program
			use(&p)
			var actions [65][8]uint64
			for sig := 1; sig <= 64; sig++ {
				p.Add(rawproc.Op{Doing: "ask", Trap: unix.SYS_RT_SIGACTION,
					Args: [6]uintptr{uintptr(sig), 0, rawproc.Pin(&p, &actions[sig]), 8}})
			}
			c, err := p.Start(0)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Reap(); err != nil {
				t.Fatal(err)
			}
			for sig := range actions {
				if handler := actions[sig][0]; handler > 1 || name == "clone" && handler != 0 {
					t.Errorf("signal %d has handler %#x", sig, handler)
				}
			}
		})
	}
}

func TestNULInStringIsRefused(t *testing.T) {
	var p rawproc.Program
	p.Strings([]string{"a\x00b"})
	if _, err := p.Start(0); err == nil {
		t.Error("started")
	}
}

func TestSizeOfOpIsWhatTheAssemblyExpects(t *testing.T) {
	if s := rawproc.OpSize; s != 80 || unsafe.Sizeof(uintptr(0)) != 8 {
		t.Errorf("size %d", s)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		var p rawproc.Program
		p.Add(rawproc.Op{Trap: unix.SYS_GETPID})
		c, err := p.Start(0)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.Reap(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEventOfAChild(t *testing.T) {
	for name, tells := range map[string]bool{"tells": true, "ends without": false} {
		t.Run(name, func(t *testing.T) {
			event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(event) }()
			var p rawproc.Program
			if tells {
				one := p.Bytes([]byte{1, 0, 0, 0, 0, 0, 0, 0})
				p.Add(rawproc.Op{Doing: "tell", Trap: unix.SYS_WRITE, Args: [6]uintptr{uintptr(event), one, 8}})
				p.Add(rawproc.Op{Doing: "wait", Trap: unix.SYS_PPOLL})
			} else {
				p.Add(rawproc.Op{Doing: "fail", Trap: unix.SYS_CLOSE, Args: [6]uintptr{999999}})
			}
			c, err := p.Start(0)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WaitEvent(event); (err == nil) != tells {
				t.Errorf("got %v", err)
			}
			c.Kill()
			_, _, _ = c.Reap()
		})
	}
}
