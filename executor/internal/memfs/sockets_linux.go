package memfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/internal/guard"
)

// maxConnections is how many connections to one socket are served at the same time.
const maxConnections = 32

// listener is a socket of the step whose connections are served.
type listener struct {
	socket *net.UnixListener
	cancel context.CancelFunc // ends accept and the context of every Serve; close calls it
	served sync.WaitGroup     // the goroutines of accept and of each connection
}

// Listen makes the step's socket name, which listens from now on, and gives it the owner and the socket's mode.
func (f *FS) Listen(name string, s step.Socket, owner ids.Pair) error {
	address := &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", f.Dir.Fd(), name)}
	socket, err := net.ListenUnix("unix", address)
	if err != nil {
		return err
	}
	socket.SetUnlinkOnClose(false) // the socket vanishes with the file system
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{socket: socket, cancel: cancel}
	f.sockets = append(f.sockets, l)
	l.served.Go(func() { l.accept(ctx, s.Serve) })
	return errors.Join(f.GiveTo(name, owner, 0), f.chmod(name, s.Mode))
}

// accept serves connections until the socket is closed.
func (l *listener) accept(ctx context.Context, serve func(context.Context, net.Conn)) {
	places := make(chan struct{}, maxConnections)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := l.socket.Accept()
		if err != nil {
			return
		}
		l.served.Go(func() {
			defer func() { <-places }()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			_ = guard.Call(func() error { serve(ctx, conn); return nil }) // after a panic the step sees a closed connection
			_ = conn.Close()
		})
	}
}

// close closes the socket and all connections, and waits until the last Serve has returned.
func (l *listener) close() {
	l.cancel()
	_ = l.socket.Close()
	l.served.Wait()
}
