package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
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

// addSockets makes the step's sockets in the room. The step reaches them only by the paths at which they are mounted,
// and can't replace them, since they are mounts.
func (c *Container) addSockets() error {
	for i, s := range c.Step.Sockets {
		if err := c.addSocket(s, "socket"+strconv.Itoa(i)); err != nil {
			return fmt.Errorf("socket %s: %w", s.Path, err)
		}
	}
	return nil
}

func (c *Container) addSocket(s step.Socket, name string) error {
	target, err := CleanTarget(s.Path)
	if err != nil {
		return err
	}
	owner, err := c.inRoom(s.UID, s.GID)
	if err != nil {
		return err
	}
	address := &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", c.Room.Fd(), name)}
	socket, err := net.ListenUnix("unix", address)
	if err != nil {
		return err
	}
	socket.SetUnlinkOnClose(false) // the socket vanishes with the room
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{socket: socket, cancel: cancel}
	c.sockets = append(c.sockets, l)
	l.served.Go(func() { l.accept(ctx, s.Serve) })
	if err := errors.Join(c.giveTo(name, owner, 0), c.roomMode(name, s.Mode)); err != nil {
		return err
	}
	c.Mounts = append(c.Mounts, Attachment{Point: inroot.Point{Name: target}, Room: name, ReadOnly: true})
	return nil
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
