package gateway

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/network/policy"
)

const (
	maxEchoes    = 64               // pings that are waited for at a time
	echoPatience = 10 * time.Second // how long an answer is waited for
)

// echoes is a link whose pings are answered by who is asked: the stack would answer them all itself.
type echoes struct {
	nested.Endpoint
	g *Gateway
	// ready is closed once the stack is set up: it loses what comes before.
	ready chan struct{}
}

func newEchoes(below stack.LinkEndpoint, g *Gateway) *echoes {
	e := &echoes{g: g, ready: make(chan struct{})}
	e.Init(below, e)
	return e
}

// ping is an echo request of a step.
type ping struct {
	from, to netip.Addr
	message  []byte // the ICMP message, from its type on
}

// DeliverNetworkPacket takes echo requests out of what comes from the step.
func (e *echoes) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, packet *stack.PacketBuffer) {
	<-e.ready
	p, ok := pingOf(protocol, packet)
	if !ok {
		e.Endpoint.DeliverNetworkPacket(protocol, packet)
		return
	}
	select {
	case e.g.echoes <- struct{}{}:
	default:
		return
	}
	go func() {
		_ = guard.Call(func() error {
			defer func() { <-e.g.echoes }()
			return e.g.echo(protocol, p)
		})
	}()
}

// pingOf reads a whole packet that is an echo request.
func pingOf(protocol tcpip.NetworkProtocolNumber, packet *stack.PacketBuffer) (p ping, ok bool) {
	switch protocol {
	case header.IPv4ProtocolNumber:
		head, ok := packet.Data().PullUp(header.IPv4MinimumSize)
		if !ok || header.IPv4(head).Protocol() != uint8(header.ICMPv4ProtocolNumber) {
			return p, false
		}
		return ping4(packet.Data().AsRange().ToSlice())
	case header.IPv6ProtocolNumber:
		head, ok := packet.Data().PullUp(header.IPv6MinimumSize)
		if !ok || header.IPv6(head).NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
			return p, false
		}
		return ping6(packet.Data().AsRange().ToSlice())
	}
	return p, false
}

func ping4(packet header.IPv4) (p ping, ok bool) {
	if !packet.IsValid(len(packet)) || packet.More() || packet.FragmentOffset() != 0 {
		return p, false
	}
	p = ping{
		from: address(packet.SourceAddress()), to: address(packet.DestinationAddress()), message: packet.Payload(),
	}
	return p, len(p.message) >= header.ICMPv4MinimumSize && header.ICMPv4(p.message).Type() == header.ICMPv4Echo
}

func ping6(packet header.IPv6) (p ping, ok bool) {
	if !packet.IsValid(len(packet)) {
		return p, false
	}
	p = ping{
		from: address(packet.SourceAddress()), to: address(packet.DestinationAddress()), message: packet.Payload(),
	}
	return p, len(p.message) >= header.ICMPv6EchoMinimumSize &&
		header.ICMPv6(p.message).Type() == header.ICMPv6EchoRequest
}

// echo asks whom the step asks, if it may, and hands on the answer. If it may not, the step is told so.
func (g *Gateway) echo(protocol tcpip.NetworkProtocolNumber, p ping) error {
	var reply []byte
	var err error
	c := g.ledger.contact(policy.ICMP, netip.AddrPortFrom(p.to, 0))
	switch {
	case p.to == policy.Resolver() || p.to == policy.Host():
		reply = append([]byte{byte(header.ICMPv4EchoReply)}, p.message[1:]...)
	case !policy.Reachable(p.to), !g.allowed(c):
		reply = prohibited(p)
	default:
		g.ledger.talk(c).connections.Add(1)
		if reply, err = exchangeEcho(p); errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			reply, err = prohibited(p), nil // by the host
		}
	}
	if err != nil {
		return err
	}
	if isReply(reply) {
		copy(reply[4:6], p.message[4:6]) // the identifier; the kernel has one of its own for each socket
	}
	return g.tell(protocol, p.to, p.from, reply)
}

func isReply(message []byte) bool {
	return message[0] == byte(header.ICMPv4EchoReply) || message[0] == byte(header.ICMPv6EchoReply)
}

// prohibited is the message that a request was refused by an administrator.
func prohibited(p ping) []byte {
	return unreachable(p.to, byte(header.ICMPv4AdminProhibited), byte(header.ICMPv6Prohibited),
		packet(p.from, p.to, icmpOf(p.to), p.message))
}

// exchangeEcho sends the request by a socket that every user may have where the host allows it (the sysctl
// net.ipv4.ping_group_range), and gives the answer.
func exchangeEcho(p ping) ([]byte, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(p.to.AsSlice())}
	if p.to.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
		to = &unix.SockaddrInet6{Addr: p.to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), "ping")
	defer drop(socket)
	if err := unix.Connect(fd, to); err != nil {
		return nil, err
	}
	if err := socket.SetDeadline(time.Now().Add(echoPatience)); err != nil {
		return nil, err
	}
	if _, err := socket.Write(p.message); err != nil {
		return nil, err
	}
	reply := make([]byte, maxDatagram)
	n, err := socket.Read(reply)
	if err == nil && n < header.ICMPv4MinimumSize {
		err = errors.New("an answer that is too short")
	}
	return reply[:n], err
}
