package gateway

import (
	"errors"
	"io"
	"net"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/cooperbuild/cooper/internal/guard"
)

// halfConn is a connection each of whose directions can be ended apart.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// serveTCP connects a step to where it wants to, and hands on what both sides send until both have ended. The step's
// connection is there only once the other is, and is refused if that is.
func (g *Gateway) serveTCP(r *tcp.ForwarderRequest) {
	completed := false
	err := guard.Call(func() error {
		out, err := g.dial(g.ctx, "tcp", destination(r.ID()))
		if err != nil {
			return err
		}
		defer drop(out)
		var queue waiter.Queue
		end, terr := r.CreateEndpoint(&queue)
		if terr != nil {
			return failed("take a connection", terr)
		}
		r.Complete(false)
		completed = true
		in := gonet.NewTCPConn(&queue, end)
		defer drop(in)
		outside, ok := out.(halfConn)
		if !ok {
			return errors.New("a connection that isn't TCP")
		}
		err = relay(g, in, outside)
		if err != nil {
			end.Abort() // otherwise what was sent last is still on its way
		}
		return err
	})
	if err != nil && !completed {
		_ = guard.Call(func() error { r.Complete(!isTimeout(err)); return nil })
	}
}

// isTimeout says that nothing has answered: then a step gets no answer either.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout() && !errors.Is(err, syscall.ECONNREFUSED)
}

// relay hands on what two sides send until both have ended, one is broken, or the step ends.
func relay(g *Gateway, a, b halfConn) error {
	done := make(chan error, 2)
	pass := func(to, from halfConn) {
		done <- guard.Call(func() error {
			buffer, ok := g.buffers.Get().(*[handful]byte)
			if !ok {
				return errors.New("a buffer of another kind")
			}
			defer g.buffers.Put(buffer)
			// Only Read and Write: by themselves connections would hand on less at a time.
			_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer[:])
			if err == nil {
				err = to.CloseWrite()
			}
			return err
		})
	}
	go pass(a, b)
	go pass(b, a)
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
