package tests_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dialWord is the first argument of this program when it is to try sockets, which is what it does in steps.
const dialWord = "dial"

// dialAll tries each address, "unix:@NAME" or "tcp:HOST:PORT", and a socket of its own, and says which it has reached.
func dialAll(addresses []string) {
	l, err := net.Listen("unix", "@cooper-e2e-own")
	if err != nil {
		fmt.Println("listen:", err)
		return
	}
	defer func() { _ = l.Close() }()
	for _, address := range append(addresses, "unix:@cooper-e2e-own") {
		network, name, _ := strings.Cut(address, ":")
		c, err := net.DialTimeout(network, name, patience)
		if err == nil {
			_ = c.Close()
		}
		fmt.Printf("%s: %t\n", address, err == nil)
	}
}

// TestStepsDontReachTheHostsAbstractSockets holds docs/security.md's table against each back end: what is the host's
// loopback is reached where it is asked for, abstract sockets are not.
func TestStepsDontReachTheHostsAbstractSockets(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		abstract := fmt.Sprintf("@cooper-e2e-%d-%s", os.Getpid(), m.Name)
		reached := make(chan string, 64)
		listen := func(network, address string) net.Addr {
			l, err := net.Listen(network, address)
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
					reached <- network
					_ = c.Close()
				}
			}()
			return l.Addr()
		}
		listen("unix", abstract)
		port := listen("tcp", "127.0.0.1:0").String()
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, "ctx/Containerfile",
			fmt.Sprintf("FROM scratch\nCOPY --chmod=755 probe /probe\nRUN [\"/probe\", %q, \"unix:%s\", \"tcp:%s\"]\n", dialWord,
				abstract, port))
		s.write(t, "ctx/probe", string(self))
		for _, test := range []struct {
			flags []string
			tcp   bool
		}{{nil, false}, {[]string{"--network=host"}, true}, {[]string{"--network=host", "--runtime=crun"}, true},
			{[]string{"--network=host", "--runtime=runc"}, true}, {[]string{"--network=none"}, false}} {
			r := s.cooper(t, append([]string{"build", "--no-cache", "--progress=plain", "ctx"}, test.flags...)...)
			r.succeeds(t)
			for _, want := range []string{"unix:" + abstract + ": false", fmt.Sprintf("tcp:%s: %t", port, test.tcp),
				"unix:@cooper-e2e-own: true"} {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("%v: no %q in\n%s", test.flags, want, tail(r.Stderr))
				}
			}
		}
		for len(reached) > 0 {
			if network := <-reached; network == "unix" {
				t.Error("a step has reached the abstract socket")
			}
		}
	})
}

// TestStepsDontReachWhatLivesInTheContext: a context may hold the socket of an agent and the pipe of a program that
// runs. Steps talk to nobody through them.
func TestStepsDontReachWhatLivesInTheContext(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, "ctx/probe", string(self))
		s.write(t, "ctx/file", "content")
		if err := errors.Join(os.Chmod(s.path("ctx/probe"), 0o755), unix.Mkfifo(s.path("ctx/pipe"), 0o666),
			os.Chmod(s.path("ctx/pipe"), 0o666), s.own(s.path("ctx/pipe"))); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", s.path("ctx/agent"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		if err := errors.Join(os.Chmod(s.path("ctx/agent"), 0o777), s.own(s.path("ctx/agent"))); err != nil {
			t.Fatal(err)
		}
		reached := make(chan struct{}, 16)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				reached <- struct{}{}
				_ = c.Close()
			}
		}()
		pipe, err := unix.Open(s.path("ctx/pipe"), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(pipe) }()
		probe := func(mount, at string) string {
			return fmt.Sprintf("RUN --mount=type=bind,source=probe,target=/probe --mount=type=bind,%s [\"/probe\", %q, \"unix:%s\"]\n", mount, dialWord, at)
		}
		s.write(t, "ctx/Containerfile", "FROM base\n"+probe("target=/c", "/c/agent")+probe("target=/c,rw", "/c/agent")+
			"RUN --mount=type=bind,target=/c grep -q content /c/file && ! touch /c/new && if test -p /c/pipe; then echo x 1<>/c/pipe; fi\n"+
			"RUN --mount=type=bind,target=/c,rw if test -p /c/pipe; then echo x 1<>/c/pipe; fi\n")
		s.write(t, "ctx/Alone", "FROM base\n"+probe("source=agent,target=/s", "/s"))
		s.cooper(t, "build", "-f", "ctx/Alone", "ctx").fails(t, 1, "source /agent is neither a directory nor a regular file")
		for _, flags := range [][]string{nil, {"--runtime=crun"}, {"--userns=host"}, {"--uidmap=0:1:5000"}} {
			if m.root() && len(flags) > 0 && strings.HasPrefix(flags[0], "--uidmap") {
				flags = []string{"--uidmap=0:400000000:65536"}
			}
			r := s.cooper(t, append([]string{"build", "--no-cache", "--progress=plain", "ctx"}, flags...)...)
			if r.succeeds(t); strings.Contains(r.Stderr, "agent: true") {
				t.Errorf("%v: %s", flags, tail(r.Stderr))
			}
		}
		if len(reached) > 0 {
			t.Errorf("steps have connected to the socket %d times", len(reached))
		}
		if n, err := unix.Read(pipe, make([]byte, 8)); err == nil {
			t.Errorf("a step has written %d bytes to the pipe", n)
		}
		s.checkNoLeftovers(t)
	})
}
