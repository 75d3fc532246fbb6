package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/network/internal/gateway"
	"github.com/cooperbuild/cooper/network/policy"
)

// childName is the name that this program is started by as the gateway.
const childName = "cooper-network"

// outside is the gateway's process, seen from the build.
type outside struct {
	policy   policy.Policy
	starting sync.Mutex // held while it is started, and for what follows
	begun    bool       // somebody has tried to start it, or it must not be started any more
	err      error      // why it could not be started
	control  *net.UnixConn
	process  *exec.Cmd
}

// watch hands the socket of a step to the gateway as soon as the step sends something, and gives tell what the gateway
// tells of the step. The caller calls stop once the step has ended; the gateway lets go of the socket then. The error
// of stop says why the step had no way out.
func (o *outside) watch(ctx context.Context, socket *os.File, tell func(gateway.Message)) (stop func() error,
	err error) {
	// The gateway closes the link when no process writes to this any more.
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	var watching sync.WaitGroup
	var failure error
	handed := false
	watching.Go(func() {
		defer theirs.Close()
		failure = guard.Call(func() error {
			if err := readable(socket); errors.Is(err, os.ErrDeadlineExceeded) {
				return nil // the step has sent nothing
			} else if err != nil {
				return err
			}
			err := o.hand(ctx, socket, theirs)
			if handed = err == nil; handed {
				_ = theirs.Close()
				listen(ours, tell)
			}
			return err
		})
	})
	return func() error {
		_ = socket.SetReadDeadline(time.Unix(1, 0)) // ends the waiting
		// Closing one direction has the gateway tell what it has to, and close the other, which ends listen.
		_ = errors.Join(ours.CloseWrite(), ours.SetReadDeadline(time.Now().Add(patience)))
		watching.Wait()
		return errors.Join(failure, ours.Close())
	}, nil
}

// patience is how long a step that has ended waits for what the gateway tells of it.
const patience = 5 * time.Second

// maxTold is how many bytes the gateway tells of a step at most.
const maxTold = 4 << 20

// listen gives tell what the gateway tells of a step, until it has ended or tells what it can't have to tell.
func listen(from io.Reader, tell func(gateway.Message)) {
	messages := json.NewDecoder(io.LimitReader(from, maxTold))
	for {
		var m gateway.Message
		if messages.Decode(&m) != nil {
			return
		}
		tell(m)
	}
}

// pair gives the ends of a connection with the gateway.
func pair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	file, theirs := os.NewFile(uintptr(fds[0]), "life"), os.NewFile(uintptr(fds[1]), "life")
	defer file.Close() // FileConn has a copy
	c, err := net.FileConn(file)
	ours, ok := c.(*net.UnixConn)
	if err == nil && !ok {
		err = errors.New("a pair of sockets of another kind")
	}
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// hand starts the gateway, if nobody has, and sends it a socket and the pipe that tells its end.
func (o *outside) hand(ctx context.Context, socket, life *os.File) error {
	if err := o.begin(ctx); err != nil {
		return err
	}
	return withFD(socket, func(one int) error {
		return withFD(life, func(two int) error {
			_, _, err := o.control.WriteMsgUnix([]byte{1}, unix.UnixRights(one, two), nil)
			return err
		})
	})
}

// begin starts the gateway if nobody has.
func (o *outside) begin(ctx context.Context) error {
	o.starting.Lock()
	defer o.starting.Unlock()
	if !o.begun {
		o.begun, o.err = true, o.start(ctx)
	}
	return o.err
}

// withFD calls f with the descriptor of a file, which stays as it is: Fd would make it a blocking one.
func withFD(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

// start starts the gateway's process. It ends with the control socket, which closes when this process ends, however it
// does.
func (o *outside) start(ctx context.Context) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a pair of sockets: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer theirs.Close()
	defer ours.Close() // FileConn has a copy
	settings, err := json.Marshal(o.policy)
	if err != nil {
		return err
	}
	c, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	control, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("a control socket of another kind")
	}
	// It outlives the step that begins it: no context ends it.
	process := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", string(settings))
	process.Args[0], process.Env, process.Dir = childName, []string{}, "/"
	process.ExtraFiles = []*os.File{theirs}
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the build, which ends it last
	if err := process.Start(); err != nil {
		_ = control.Close()
		return fmt.Errorf("start the gateway: %w", err)
	}
	o.control, o.process = control, process
	return nil
}

// stop ends the gateway and waits for its end.
func (o *outside) stop() error {
	o.starting.Lock()
	defer o.starting.Unlock()
	if !o.begun {
		o.begun, o.err = true, net.ErrClosed
	}
	if o.process == nil {
		return nil
	}
	err := o.control.Close()
	_ = o.process.Wait() // how it ends matters to nobody
	return err
}

// closed waits until the write end of a pipe is closed everywhere.
func closed(life io.Reader) { _, _ = io.Copy(io.Discard, life) }
