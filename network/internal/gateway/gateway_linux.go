package gateway

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/cooperbuild/cooper/network/internal/link"
	"github.com/cooperbuild/cooper/network/policy"
)

// nic is the number of the one device of each stack.
const nic = 1

// Limits of one step.
const (
	maxDials = 1024      // connections that are being made at a time
	maxFlows = 2048      // pairs of a UDP port of the step and an address outside
	window   = 1 << 20   // bytes that one direction of a connection usually holds
	maxOnWay = 8 << 20   // bytes that it holds at most
	handful  = 256 << 10 // bytes that are handed on at a time
)

// Gateway is the outside of one step.
type Gateway struct {
	policy policy.Policy
	stack  *stack.Stack
	link   stack.LinkEndpoint
	ctx    context.Context //nolint:containedctx // what the stack calls back has no other: it ends with the step
	end    context.CancelFunc
	flows  chan struct{} // a token for each UDP flow
	echoes chan struct{} // a token for each echo that is waited for
	ledger *ledger
	// sending and receiving limit what the step sends and receives; nil: nothing does.
	sending, receiving *rate.Limiter
	// buffers has the *[handful]byte that no connection uses.
	buffers sync.Pool
}

// Open makes the outside of the step whose frames come from socket, which it borrows until Close. What is told of the
// step, a Message a line, goes to told.
func Open(ctx context.Context, socket *os.File, p policy.Policy, told io.Writer) (*Gateway, error) {
	mac := link.StepMAC() // a device without ARP sends to its own address
	ethernet, err := fdbased.New(&fdbased.Options{
		FDs: []int{int(socket.Fd())}, MTU: link.MTU, EthernetHeader: true,
		Address:            tcpip.LinkAddress(mac[:]),
		PacketDispatchMode: fdbased.RecvMMsg,
		// The kernel has no wire below the step's device, so it computes no checksums for it.
		RXChecksumOffload: true,
	})
	if err != nil {
		return nil, fmt.Errorf("read a link: %w", err)
	}
	g := &Gateway{policy: p, flows: make(chan struct{}, maxFlows), echoes: make(chan struct{}, maxEchoes),
		ledger: newLedger(told)}
	if p.Rate > 0 {
		g.sending, g.receiving = newLimiter(p.Rate), newLimiter(p.Rate)
	}
	g.buffers.New = func() any { return new([handful]byte) }
	g.ctx, g.end = context.WithCancel(ctx)
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	outer := newEchoes(ethernet, g)
	g.link = outer
	err = g.configure()
	close(outer.ready)
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Tell tells whom the step has talked to.
func (g *Gateway) Tell() error { return g.ledger.close() }

// Close ends all connections, and the reading of the socket.
func (g *Gateway) Close() {
	g.end()
	g.stack.Close()
	g.link.Attach(nil)
	g.link.Wait()
}

// configure has the stack take everything that comes from the step, whomever it is for.
func (g *Gateway) configure() error {
	s := g.stack
	tcpForwarder := tcp.NewForwarder(s, 0, maxDials, g.serveTCP)
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcpForwarder.HandlePacket)
	udpForwarder := udp.NewForwarder(s, g.serveUDP)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udpForwarder.HandlePacket)

	sack := tcpip.TCPSACKEnabled(true)
	in := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: window, Max: maxOnWay}
	out := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: window, Max: maxOnWay}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &in, &out} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return failed("set up TCP", err)
		}
	}
	// What UDP holds, which would be less than the largest packet.
	receive := tcpip.ReceiveBufferSizeOption{Min: maxDatagram, Default: window, Max: maxOnWay}
	send := tcpip.SendBufferSizeOption{Min: maxDatagram, Default: window, Max: maxOnWay}
	for _, o := range []any{receive, send} {
		if err := s.SetOption(o); err != nil {
			return failed("set up UDP", err)
		}
	}
	if err := s.CreateNIC(nic, g.link); err != nil {
		return failed("make a device", err)
	}
	for _, set := range []func(tcpip.NICID, bool) tcpip.Error{s.SetPromiscuousMode, s.SetSpoofing} {
		if err := set(nic, true); err != nil {
			return failed("set up a device", err)
		}
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return g.meet()
}

// meet tells the stack the Ethernet address of the step, whose device answers no ARP.
func (g *Gateway) meet() error {
	mac := link.StepMAC()
	at := tcpip.LinkAddress(mac[:])
	v4, v6 := policy.Step4().As4(), policy.Step6().As16()
	err := g.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, tcpip.AddrFrom4(v4), at)
	if err == nil {
		err = g.stack.AddStaticNeighbor(nic, ipv6.ProtocolNumber, tcpip.AddrFrom16(v6), at)
	}
	if err != nil {
		return failed("meet the step", err)
	}
	return nil
}

func failed(doing string, err tcpip.Error) error { return fmt.Errorf("%s: %s", doing, err.String()) }
