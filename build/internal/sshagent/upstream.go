package sshagent

import (
	"context"
	"errors"
	"net"
	"sync"
)

// upstream is a connection to the user's agent, made when it is first needed.
type upstream struct {
	agent *Agent

	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

// ask hands a request on and waits for the answer, which may take until the user has confirmed it.
func (u *upstream) ask(ctx context.Context, request []byte) ([]byte, error) {
	conn, err := u.connect(ctx)
	if err != nil {
		return nil, err
	}
	var answer []byte
	if err = writeMessage(conn, request); err == nil {
		answer, err = readMessage(conn)
	}
	if err != nil {
		u.hangUp(conn)
	}
	return answer, err
}

// hangUp ends a connection on which something went wrong: what comes next on it need not be the answer to what is asked
// next, and an agent that was started anew is found by another call.
func (u *upstream) hangUp(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = conn.Close()
	if u.conn == conn {
		u.conn = nil
	}
}

func (u *upstream) connect(ctx context.Context) (net.Conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errors.New("the step has ended")
	}
	if u.conn != nil {
		return u.conn, nil
	}
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "unix", u.agent.socket)
	u.conn = conn
	if err != nil {
		u.conn = nil
	}
	return conn, err
}

func (u *upstream) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.conn != nil {
		_ = u.conn.Close()
		u.conn = nil
	}
}
