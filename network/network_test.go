package network_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

// patience is how long something that must happen is waited for, on a machine with far too much to do.
const patience = time.Minute

func at(host string, port uint16) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

func TestConnectionsLeadOut(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	for _, host := range []string{own4, own6} {
		port := serve(t, host, echo)
		c, err := dial(t, ns, "tcp", at(host, port))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		sent := make([]byte, 8<<20)
		_, _ = rand.Read(sent)
		go func() {
			_, _ = c.Write(sent)
			_ = c.(*net.TCPConn).CloseWrite() // the server sees the end, and the rest of its answer comes all the same
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(sent, got) {
			t.Errorf("%s: %d of %d bytes came back: %v", host, len(got), len(sent), err)
		}
	}
}

func TestALargeDownloadComesAsItIs(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	const size = 64 << 20
	source := func() io.Reader { return io.LimitReader(endless{}, size) }
	port := serve(t, own4, func(c net.Conn) { _, _ = io.Copy(c, source()) })
	c, err := dial(t, ns, "tcp", at(own4, port))
	if err != nil {
		t.Fatal(err)
	}
	want, got := sha256.New(), sha256.New()
	_, _ = io.Copy(want, source())
	if n, err := io.Copy(got, c); err != nil || n != size || !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d of %d bytes: %v", n, size, err)
	}
}

// endless is bytes none of whose pages is like another.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := 0; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	return len(p) &^ 7, nil
}

// unreachable are the services of the machine that no step reaches. Each is there, and listens.
func TestTheHostsOwnServicesAreOutOfReach(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "::1", metadata} {
		port := serve(t, host, echo)
		if c, err := net.DialTimeout("tcp", at(host, port), patience); err != nil {
			t.Errorf("%s: not even the host reaches it: %v", host, err)
		} else {
			_ = c.Close()
		}
		for _, to := range []string{host, "::ffff:" + host, policy.Host().String(), policy.Resolver().String(), "0.0.0.0"} {
			if net.ParseIP(to) == nil {
				continue
			}
			if _, err := dial(t, ns, "tcp", at(to, port)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s is open at %s: %v", host, to, err)
			}
		}
	}
}

func TestALoopbackPortIsLetThroughWhereItIsNamed(t *testing.T) {
	port, other := serve(t, "127.0.0.1", echo), serve(t, "127.0.0.1", echo)
	only6 := serve(t, "::1", echo)
	_, ns := open(t, policy.Policy{Loopback: []uint16{port, only6}})
	for p, open := range map[uint16]bool{port: true, only6: true, other: false} {
		_, err := dial(t, ns, "tcp", at(policy.Host().String(), p))
		if (err == nil) != open {
			t.Errorf("port %d: %v, should be open: %t", p, err, open)
		}
	}
	if _, err := dial(t, ns, "tcp", at("127.0.0.1", port)); err == nil {
		t.Error("the step's own loopback address leads to the host's")
	}
}

func TestTheHostsAddressLeadsToWhatListensOutside(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	port := serve(t, own4, echo)
	if _, err := dial(t, ns, "tcp", at(policy.Host().String(), port)); err != nil {
		t.Error(err)
	}
}

func TestAStepIsToldWhereNobodyListens(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	for _, host := range []string{own4, own6} {
		port := serve(t, host, echo)
		if _, err := dial(t, ns, "tcp", at(host, port+1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// packets answers each packet with itself.
func packets(t *testing.T, host string) (port int) {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// ask sends a packet until there is an answer, for packets may be lost.
func ask(c net.Conn, sent []byte) ([]byte, error) {
	got, err := make([]byte, 64<<10), error(nil)
	for range 20 {
		if _, err := c.Write(sent); err != nil {
			return nil, err
		}
		_ = c.SetReadDeadline(time.Now().Add(patience / 10))
		var n int
		if n, err = c.Read(got); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return got[:n], err
		}
	}
	return nil, err
}

func TestPacketsLeadOutAndBack(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	for _, host := range []string{own4, own6} {
		c, err := dial(t, ns, "udp", at(host, uint16(packets(t, host))))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 1400, 9000, 60000} {
			sent := bytes.Repeat([]byte{byte(size)}, size)
			if got, err := ask(c, sent); err != nil || !bytes.Equal(sent, got) {
				t.Errorf("%s: %d of %d bytes came back: %v", host, len(got), size, err)
			}
		}
	}
}

// TestAStepReachesItsOwnAddressesAtOnce: what isn't for the step itself goes out, and answers to it get lost, as long
// as the kernel takes to make an address of IPv6 whole.
func TestAStepReachesItsOwnAddressesAtOnce(t *testing.T) {
	n := network.New(policy.Policy{})
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 40 { // the kernel wins often
		ns := take(t, n)
		for _, own := range []netip.Addr{policy.Step4(), policy.Step6()} {
			c, err := dial(t, ns, "udp", at(own.String(), 9))
			if err != nil {
				t.Fatal(err)
			}
			if from, err := netip.ParseAddrPort(c.LocalAddr().String()); err != nil || from.Addr() != own {
				t.Errorf("%s is reached from %s: %v", own, from, err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write([]byte("hello"))
			if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v", own, err)
			}
		}
		leave(t, ns)
	}
	if pid := network.GatewayOf(n); pid != 0 {
		t.Error("what a step sends to itself has gone out")
	}
}

func TestPacketsToTheHostsOwnServicesAreRefused(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	for _, host := range []string{"127.0.0.1", metadata} {
		for _, to := range []string{metadata, policy.Host().String()} {
			c, err := dial(t, ns, "udp", at(to, uint16(packets(t, host))))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write([]byte("hello"))
			if n, err := c.Read(make([]byte, 10)); to == metadata && !errors.Is(err, syscall.ECONNREFUSED) || n > 0 {
				t.Errorf("%s at %s: %d bytes, %v", host, to, n, err)
			}
		}
	}
}

// TestNamesAreAskedOfTheHostsResolver: it listens at the loopback address, and is the second of the host's list.
func TestNamesAreAskedOfTheHostsResolver(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	udp, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	tcp, err := net.Listen("tcp", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(append([]byte("udp "), b[:n]...), from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 3)
			_, _ = io.ReadFull(c, b)
			_, _ = c.Write(append([]byte("\x00\x05tcp "), b[2:]...))
			_ = c.Close()
		}
	}()
	for kind, want := range map[string]string{"udp": "udp ?", "tcp": "\x00\x05tcp ?"} {
		c, err := dial(t, ns, kind, at(policy.Resolver().String(), 53))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		question := "?"
		if kind == "tcp" {
			question = "\x00\x01?"
		}
		_, _ = c.Write([]byte(question))
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c, got); string(got[:n]) != want {
			t.Errorf("%s: %q, %v", kind, got[:n], err)
		}
	}
}

// ping sends an echo request and gives the answer's type.
func ping(t *testing.T, ns *network.Namespace, to string) (kind byte, err error) {
	t.Helper()
	ip := net.ParseIP(to)
	family, protocol, request := unix.AF_INET6, unix.IPPROTO_ICMPV6, byte(128)
	var address unix.Sockaddr = &unix.SockaddrInet6{Addr: [16]byte(ip.To16())}
	if four := ip.To4(); four != nil {
		family, protocol, request = unix.AF_INET, unix.IPPROTO_ICMP, 8
		address = &unix.SockaddrInet4{Addr: [4]byte(four)}
	}
	err = in(t, ns, func() error {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, address); err != nil {
			return err
		}
		wait := unix.NsecToTimeval(int64(patience))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		if _, err := unix.Write(fd, append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, "hello"...)); err != nil {
			return err
		}
		b := make([]byte, 100)
		n, err := unix.Read(fd, b)
		if err == nil && string(b[8:n]) != "hello" {
			err = fmt.Errorf("the answer is %q", b[:n])
		}
		kind = b[0]
		return err
	})
	return kind, err
}

func TestPingAsksWhomTheStepAsks(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	for to, want := range map[string]byte{own4: 0, own6: 129, policy.Host().String(): 0, policy.Resolver().String(): 0} {
		if kind, err := ping(t, ns, to); err != nil || kind != want {
			t.Errorf("%s: type %d, %v", to, kind, err)
		}
	}
	for _, to := range []string{metadata, "fe80::1"} {
		if kind, err := ping(t, ns, to); err == nil {
			t.Errorf("%s: type %d", to, kind)
		}
	}
}

func TestEachStepHasANamespaceOfItsOwn(t *testing.T) {
	n, first := open(t, policy.Policy{})
	var listener net.Listener
	if err := in(t, first, func() (err error) {
		listener, err = net.Listen("tcp", "0.0.0.0:8080")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			if _, err := listener.Accept(); err != nil {
				return
			}
		}
	}()
	if _, err := dial(t, first, "tcp", at(policy.Step4().String(), 8080)); err != nil {
		t.Errorf("the step itself: %v", err)
	}
	second := take(t, n)
	for _, to := range []string{"127.0.0.1", policy.Step4().String(), policy.Host().String()} {
		if _, err := dial(t, second, "tcp", at(to, 8080)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("another step at %s: %v", to, err)
		}
	}
}

func TestAbstractSocketsOfTheHostAreOutOfReach(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	name := "@network-test-" + strconv.Itoa(os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := dial(t, ns, "unix", name); err == nil {
		t.Error("it is open")
	}
}

// TestPacketsMadeByHandLeadNowhereElse: a step with NET_RAW isn't bound by its routes.
func TestPacketsMadeByHandLeadNowhereElse(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	seen := make(chan bool, 1)
	port := serve(t, metadata, func(net.Conn) { seen <- true })
	syn := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		segment := make([]byte, 20)
		binary.BigEndian.PutUint16(segment[0:], 4000)
		binary.BigEndian.PutUint16(segment[2:], port)
		segment[12], segment[13] = 5<<4, 2
		return unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(metadata).To4())})
	}
	if err := in(t, ns, syn); err != nil {
		t.Fatal(err)
	}
	// What comes after it has been read after it.
	if _, err := dial(t, ns, "tcp", at(own4, serve(t, own4, echo))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
		t.Error("the service was reached")
	default:
	}
}

func TestManyConnectionsAtOnce(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	port := serve(t, own4, echo)
	const many = 200
	var all sync.WaitGroup
	errs := make(chan error, many)
	for range many {
		all.Go(func() {
			c, err := dial(t, ns, "tcp", at(own4, port))
			if err == nil {
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = c.Write([]byte("x"))
				_, err = io.ReadFull(c, make([]byte, 1))
			}
			errs <- err
		})
	}
	all.Wait()
	for range many {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheGatewayStartsWithTheFirstPacketAndEndsWithTheBuild(t *testing.T) {
	n := network.New(policy.Policy{})
	idle := take(t, n)
	leave(t, idle)
	if pid := network.GatewayOf(n); pid != 0 {
		t.Errorf("process %d was started for nothing", pid)
	}
	used := take(t, n)
	if _, err := dial(t, used, "tcp", at(own4, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	pid := network.GatewayOf(n)
	if pid == 0 {
		t.Error("no process")
	}
	leave(t, used)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d: %v", pid, err)
	}
}

func TestConnectionsEndWithTheStep(t *testing.T) {
	_, ns := open(t, policy.Policy{})
	ended := make(chan error, 1)
	port := serve(t, own4, func(c net.Conn) {
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	if _, err := dial(t, ns, "tcp", at(own4, port)); err != nil {
		t.Fatal(err)
	}
	leave(t, ns)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the server's connection is still there")
	}
}
