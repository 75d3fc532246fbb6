package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/network/policy"
)

// halfConn is a connection each of whose directions can be ended apart.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// serveTCP connects a step to where it wants to, and hands on what both sides send until both have ended. The step's
// connection is there only once the other is, and is refused if that is.
func (g *Gateway) serveTCP(r *tcp.ForwarderRequest) {
	t := &taker{request: r}
	err := guard.Call(func() error { return g.connect(t, destination(r.ID())) })
	if err != nil && !t.taken {
		_ = guard.Call(func() error { r.Complete(!isTimeout(err)); return nil })
	}
}

// connect has a step's connection answered by whom it is for, if the step may talk to that.
func (g *Gateway) connect(t *taker, to netip.AddrPort) error {
	c := g.ledger.contact(policy.TCP, to)
	if !g.allowed(c) {
		return errRefused
	}
	if to == netip.AddrPortFrom(policy.Resolver(), dnsPort) {
		return t.take(func(in halfConn) error { return g.serveDNS(in) })
	}
	out, err := g.dial(g.ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer drop(out)
	outside, ok := out.(halfConn)
	if !ok {
		return errors.New("a connection that isn't TCP")
	}
	return t.take(func(in halfConn) error { return relay(g, g.greet(in, c), outside, g.ledger.talk(c)) })
}

// taker takes a connection of a step.
type taker struct {
	request *tcp.ForwarderRequest
	// taken says that take was called and has succeeded so far that the step has its connection.
	taken bool
}

// take takes the connection, and breaks it if serve gives an error.
func (t *taker) take(serve func(in halfConn) error) error {
	var queue waiter.Queue
	end, terr := t.request.CreateEndpoint(&queue)
	if terr != nil {
		return failed("take a connection", terr)
	}
	t.request.Complete(false)
	t.taken = true
	in := gonet.NewTCPConn(&queue, end)
	defer drop(in)
	err := serve(in)
	if err != nil {
		end.Abort() // otherwise what was sent last is still on its way
	}
	return err
}

// isTimeout says that nothing has answered: then a step gets no answer either.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout() && !errors.Is(err, syscall.ECONNREFUSED)
}

// relay hands on what the step and the other side send until both have ended, one is broken, or the step ends. It
// counts the bytes.
func relay(g *Gateway, in, out halfConn, t *talk) error {
	t.connections.Add(1)
	done := make(chan error, 2)
	pass := func(to, from halfConn, count *atomic.Int64, limit *rate.Limiter) {
		done <- guard.Call(func() error {
			buffer, ok := g.buffers.Get().(*[handful]byte)
			if !ok {
				return errors.New("a buffer of another kind")
			}
			defer g.buffers.Put(buffer)
			// Only Read and Write: by themselves connections would hand on less at a time.
			_, err := io.CopyBuffer(counted{to, g.ctx, count, limit}, struct{ io.Reader }{from}, buffer[:])
			if err == nil {
				err = to.CloseWrite()
			}
			return err
		})
	}
	go pass(in, out, &t.received, g.receiving)
	go pass(out, in, &t.sent, g.sending)
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				return err // who calls closes both, which ends the other direction
			}
		case <-g.ctx.Done():
			return g.ctx.Err()
		}
	}
	return nil
}
