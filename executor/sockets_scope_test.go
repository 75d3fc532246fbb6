package executor_test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// callerEnv is the step's variable for the process ID of the caller, which is in the names of all sockets: processes
// that run these tests at the same time share the names of abstract sockets.
const callerEnv = "EXECUTOR_TEST_CALLER"

// callersSockets are the abstract sockets of the caller: as those of X11, as D-Bus's, and one that takes packets.
func callersSockets(caller string) (stream, session, datagram string) {
	return "@/tmp/.X11-unix/X" + caller, "@/tmp/dbus-cooper" + caller, "@cooper-datagrams" + caller
}

// ownSocket is the abstract socket that the step makes.
func ownSocket() string { return "@own" + os.Getenv(callerEnv) }

// listenAbstract has the caller listen on its abstract sockets, and gives what it hears.
func listenAbstract(t *testing.T) (heard chan string) {
	t.Helper()
	heard = make(chan string, 16)
	stream, session, datagram := callersSockets(strconv.Itoa(os.Getpid()))
	for _, name := range []string{stream, session} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				heard <- name
				_ = c.Close()
			}
		}()
	}
	c, err := net.ListenPacket("unixgram", datagram)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		for {
			if _, _, err := c.ReadFrom(make([]byte, 8)); err != nil {
				return
			}
			heard <- datagram
		}
	}()
	return heard
}

// dialAbstract tries the caller's abstract sockets, and then sockets that it makes itself and that a child of its uses.
func dialAbstract() int {
	stream, session, datagram := callersSockets(os.Getenv(callerEnv))
	for network, names := range map[string][]string{"unix": {stream, session}, "unixgram": {datagram}} {
		for _, name := range names {
			c, err := net.DialTimeout(network, name, patience)
			if err == nil && network == "unixgram" {
				_, err = c.Write([]byte("hello"))
			}
			fmt.Printf("%s: %v\n", name, err == nil)
		}
	}
	l, err := net.Listen("unix", ownSocket())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"self", "dial-own"},
		&os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stdout}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c, err := l.Accept()
	if err == nil {
		b := make([]byte, 3)
		_, err = c.Read(b)
		fmt.Printf("own: %s %v\n", b, err)
	}
	_, err = p.Wait()
	pair, pairErr := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if pairErr == nil {
		_, pairErr = unix.Write(pair[0], []byte("x"))
	}
	fmt.Printf("child: %v, pair: %v\n", err, pairErr)
	return 0
}

// dialOwn is the child of dialAbstract.
func dialOwn() int {
	c, err := net.DialTimeout("unix", ownSocket(), patience)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, err = c.Write([]byte("own"))
	if err != nil {
		return 1
	}
	return 0
}

func TestAbstractSocketsOfTheCallerAreOutOfReach(t *testing.T) {
	if ok, err := executor.ScopesSockets(); !ok {
		t.Fatalf("these tests need landlock of Linux 6.12: %v", err)
	}
	heard := listenAbstract(t)
	b := newBox(t)
	b.addSelf()
	for name, change := range map[string]func(*executor.Step){
		"usual":        func(*executor.Step) {},
		"insecure":     func(s *executor.Step) { s.Security.Insecure = true },
		"no filter":    func(s *executor.Step) { s.Security.NoFilter = true },
		"another user": func(s *executor.Step) { s.User = "alice" },
		"a map": func(s *executor.Step) {
			if s.Mapping = testMapping(t); inside() {
				s.Mapping, s.Shifted = nestedMapping(t), true
			}
		},
		"no network":       func(s *executor.Step) { s.Network = "none" },
		"no new privilege": func(s *executor.Step) { s.Security.NoNewPrivs = true },
	} {
		s := b.step("/self", "abstract")
		s.Env = append(s.Env, callerEnv+"="+strconv.Itoa(os.Getpid()))
		change(&s)
		out := b.output(s)
		if strings.Count(out, ": false\n") != 3 || !strings.HasSuffix(out, "own: own <nil>\nchild: <nil>, pair: <nil>\n") {
			t.Errorf("%s: %q", name, out)
		}
	}
	select {
	case name := <-heard:
		t.Errorf("a step has reached %q", name)
	default:
	}
}

// A rule of landlock can forbid mounts, and what a runtime does for the next step.
func TestScopedStepsStillMountAndMakeRulesOfTheirOwn(t *testing.T) {
	b := newBox(t)
	b.dir("layer/mnt")
	s := b.sh("mount -t tmpfs none /mnt && echo x > /mnt/file && mount -o bind /mnt /tmp && cat /tmp/file && unshare -m umount /mnt && echo done")
	s.Security.Insecure = true
	if got := b.output(s); got != "x\ndone\n" {
		t.Errorf("%q", got)
	}
}
