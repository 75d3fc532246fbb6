package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/network/policy"
)

const (
	maxDatagram = 64 << 10
	idle        = 2 * time.Minute // after which a flow of UDP is forgotten, as RFC 4787 wants it
	dnsPatience = 5 * time.Second // how long a name server may take before the next is asked, as resolver(5) has it
)

// serveUDP takes the first packet of a flow.
func (g *Gateway) serveUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to := destination(id)
	c := g.ledger.contact(policy.UDP, to)
	if len(g.places(to)) == 0 || !g.allowed(c) {
		_ = g.refuse(id)
		return true
	}
	select {
	case g.flows <- struct{}{}:
	default:
		return true // the packet is lost, as packets are
	}
	var queue waiter.Queue
	end, terr := r.CreateEndpoint(&queue)
	if terr != nil {
		<-g.flows
		return true
	}
	in := gonet.NewUDPConn(&queue, end)
	go func() {
		_ = guard.Call(func() error {
			defer func() { <-g.flows }()
			defer drop(in)
			if to.Addr() == policy.Resolver() {
				return g.answer(in)
			}
			err := g.exchange(in, to, g.ledger.talk(c))
			if errors.Is(err, syscall.ECONNREFUSED) {
				return g.refuse(id)
			}
			return err
		})
	}()
	return true
}

// exchange hands on the packets of a flow until none has come for a while.
func (g *Gateway) exchange(in net.Conn, to netip.AddrPort, t *talk) error {
	out, err := g.dial(g.ctx, "udp", to)
	if err != nil {
		return err
	}
	fragment(out)
	t.connections.Add(1)
	defer drop(out)
	stop := context.AfterFunc(g.ctx, func() { _, _ = out.Close(), in.Close() })
	defer stop()
	back := make(chan struct{})
	var backErr error
	go func() {
		defer close(back)
		defer drop(in)
		backErr = guard.Call(func() error {
			return pass(counted{in, g.ctx, &t.received, g.receiving}, out, out, in)
		})
	}()
	err = pass(counted{out, g.ctx, &t.sent, g.sending}, in, in, out)
	_ = out.Close()
	<-back
	return errors.Join(err, backErr)
}

// pass hands packets on, and extends the time of both directions with each.
func pass(to io.Writer, from net.Conn, both ...net.Conn) error {
	packet := make([]byte, maxDatagram)
	for {
		for _, c := range both {
			if err := c.SetReadDeadline(time.Now().Add(idle)); err != nil {
				return err
			}
		}
		n, err := from.Read(packet)
		if err != nil {
			return err
		}
		if _, err := to.Write(packet[:n]); err != nil && !passing(err) {
			return err
		}
	}
}

// answer has the host's name servers answer the questions of one port of the step.
func (g *Gateway) answer(in net.Conn) error {
	packet := make([]byte, maxDatagram)
	for {
		if err := in.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		n, err := in.Read(packet)
		if err != nil {
			return err
		}
		question := append([]byte(nil), packet[:n]...)
		select {
		case g.flows <- struct{}{}:
		default:
			continue
		}
		go func() {
			_ = guard.Call(func() error {
				defer func() { <-g.flows }()
				return g.ask(in, question)
			})
		}()
	}
}

// ask answers a question that has come by UDP.
func (g *Gateway) ask(in net.Conn, question []byte) error {
	reply, err := g.resolve(question, func(question []byte) (reply []byte, err error) {
		for _, server := range nameServers() {
			if reply, err = g.askOne(server, question); err == nil {
				return reply, nil
			}
		}
		return nil, err
	})
	if err == nil {
		_, err = in.Write(reply)
	}
	return err
}

func (g *Gateway) askOne(server netip.AddrPort, question []byte) ([]byte, error) {
	out, err := new(net.Dialer).DialContext(g.ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer drop(out)
	stop := context.AfterFunc(g.ctx, func() { _ = out.Close() })
	defer stop()
	if err := out.SetDeadline(time.Now().Add(dnsPatience)); err != nil {
		return nil, err
	}
	if _, err := out.Write(question); err != nil {
		return nil, err
	}
	reply := make([]byte, maxDatagram)
	n, err := out.Read(reply)
	return reply[:n], err
}
