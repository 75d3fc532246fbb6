package secretcmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Bounds of a command.
const (
	mostTime   = 2 * time.Minute
	waitOutput = time.Second // how long its output may stay open after the command has ended
	mostErrors = 400         // bytes of its standard error that an error shows
)

var errTooLate = fmt.Errorf("gave no secret in %s", mostTime)

// Start gives the end of a pair of sockets that New takes. At the other end a goroutine of this process runs the
// command with sh whenever it is asked to, until that end is closed.
func Start(command string) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	own := os.NewFile(uintptr(fds[1]), "secret command")
	conn, err := net.FileConn(own)
	if err = errors.Join(err, own.Close()); err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]))
	}
	go func() { _ = guard.Call(func() error { return serve(conn, command) }) }() // the asker sees the connection end
	return os.NewFile(uintptr(fds[0]), "secret command"), nil
}

// serve answers requests, each one byte, until the connection ends. A command that runs then is killed.
func serve(conn net.Conn, command string) error {
	defer func() { _ = conn.Close() }()
	runtime.LockOSThread() // the kernel kills the command with the thread that started it
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	asked := make(chan struct{})
	go func() {
		defer cancel()
		defer close(asked)
		_ = guard.Call(func() error { return listen(conn, asked) })
	}()
	for range asked {
		secret, err := run(ctx, command)
		kind, text := byte(isSecret), secret
		if err != nil {
			kind, text = isError, []byte(err.Error())
		}
		answer := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(text)))
		if _, err := conn.Write(append(answer, text...)); err != nil {
			return err
		}
	}
	return nil
}

// listen tells of each request, until the connection ends.
func listen(conn net.Conn, asked chan<- struct{}) error {
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
		asked <- struct{}{}
	}
}

// run gives what the command prints, without one line end behind it, as the shell's $(...) does with all.
func run(ctx context.Context, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mostTime, errTooLate)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitOutput
	out, errs := first{most: build.MaxSecret + 1}, first{most: mostErrors}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && len(errs.kept) > 0:
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(errs.kept))
	case err != nil:
		return nil, err
	case len(out.kept) > build.MaxSecret:
		return nil, fmt.Errorf("printed more than %d KiB", build.MaxSecret>>10)
	case len(out.kept) == 0:
		return nil, errors.New("printed nothing")
	}
	return bytes.TrimSuffix(out.kept, []byte("\n")), nil
}

// first keeps the first bytes of what is written to it.
type first struct {
	kept []byte
	most int
}

func (f *first) Write(p []byte) (int, error) {
	f.kept = append(f.kept, p[:min(len(p), f.most-len(f.kept))]...)
	return len(p), nil
}
