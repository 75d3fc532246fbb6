package network_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

// machineEnv marks the process that runs the tests, in a network that is a machine's in small.
const machineEnv = "NETWORK_TEST_MACHINE"

// The addresses of that machine, besides its loopback ones: one outside for each family, and a link-local one, where a
// cloud would tell it its credentials.
const (
	own4     = "192.0.2.77"
	own6     = "2001:db8:77::1"
	metadata = "169.254.169.254"
)

// TestMain runs the tests in namespaces of their own, as root of a user namespace. So they need nothing of the
// machine's network, and nobody's privileges.
func TestMain(m *testing.M) {
	if network.Child() {
		return
	}
	if os.Getenv(machineEnv) == "" {
		os.Exit(again())
	}
	if err := makeMachine(); err != nil {
		fmt.Fprintln(os.Stderr, "make a machine in small:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this program in new namespaces.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), machineEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// makeMachine gives the network addresses, ways out and a resolver.
func makeMachine() error {
	for _, line := range []string{
		"link set lo up", "addr add " + own4 + "/32 dev lo", "addr add " + metadata + "/32 dev lo",
		"route add default dev lo",
		"-6 addr add " + own6 + "/128 dev lo", "-6 route add default dev lo",
	} {
		out, err := exec.Command("busybox", append([]string{"ip"}, strings.Fields(line)...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "network-test")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "resolv.conf")
	// Nobody listens at the first one.
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.52\nnameserver 127.0.0.53\n"), 0o644); err != nil {
		return err
	}
	return unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, "")
}

// open makes a network, and a namespace in it for one step.
func open(t *testing.T, p policy.Policy) (*network.Network, *network.Namespace) {
	t.Helper()
	n := network.New(p)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, take(t, n)
}

func take(t *testing.T, n *network.Network) *network.Namespace {
	t.Helper()
	return takeTelling(t, n, func(c policy.Contact) { t.Errorf("%s was refused", c) })
}

// takeTelling makes the namespace of a step whose refused contacts are told.
func takeTelling(t *testing.T, n *network.Network, refused func(policy.Contact)) *network.Namespace {
	t.Helper()
	ns, err := n.Take(t.Context(), refused)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leave(t, ns) })
	return ns
}

// leave closes a namespace.
func leave(t *testing.T, ns *network.Namespace) {
	t.Helper()
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
}

// in calls f in the namespace of a step.
func in(t *testing.T, ns *network.Namespace, f func() error) error {
	t.Helper()
	return thread.OnLost(func() error {
		if err := unix.Setns(int(ns.File.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// dial connects from the namespace of a step.
func dial(t *testing.T, ns *network.Namespace, kind, to string) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	err := in(t, ns, func() (err error) {
		c, err = net.DialTimeout(kind, to, patience)
		return err
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// serve listens on the machine and calls f for each connection.
func serve(t *testing.T, at string, f func(net.Conn)) (port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(at, "0"))
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
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// echo sends back what comes, and ends when that ends.
func echo(c net.Conn) { _, _ = io.Copy(c, c) }
