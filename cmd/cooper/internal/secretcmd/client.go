package secretcmd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build"
)

// What an answer is, its first byte; its length follows.
const (
	isSecret = 1
	isError  = 2
)

// New gives what asks the command at the other end of f, which it closes, for its secret: once for each call.
func New(f *os.File) (fetch func(context.Context) (build.Secret, error), err error) {
	var conn net.Conn
	conn, err = net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	var one sync.Mutex
	return func(ctx context.Context) (build.Secret, error) {
		one.Lock()
		defer one.Unlock()
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
		defer stop()
		secret, err := ask(conn)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return secret, err
	}, nil
}

func ask(conn net.Conn) (build.Secret, error) {
	if _, err := conn.Write([]byte{isSecret}); err != nil {
		return nil, fmt.Errorf("ask for it: %w", err)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, fmt.Errorf("ask for it: %w", err)
	}
	text := make([]byte, min(binary.BigEndian.Uint32(head[1:]), build.MaxSecret))
	if _, err := io.ReadFull(conn, text); err != nil {
		return nil, fmt.Errorf("ask for it: %w", err)
	}
	if head[0] == isError {
		return nil, errors.New(string(text))
	}
	return text, nil
}
