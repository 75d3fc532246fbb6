package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/network/internal/gateway"
	"github.com/cooperbuild/cooper/network/policy"
)

// controlFD is the descriptor of the control socket in the gateway's process.
const controlFD = 3

// Child must be called early by main. In the process that is started as the gateway it does that work, and returns true
// when the build has ended. In any other process it does nothing.
func Child() bool {
	if len(os.Args) != 2 || os.Args[0] != childName {
		return false
	}
	// It ends with the build, and nobody reads what it could say.
	_ = guard.Call(func() error { return serve(os.Args[1]) })
	return true
}

// serve takes one link after the other until the control socket is closed.
func serve(settings string) error {
	var p policy.Policy
	if err := json.Unmarshal([]byte(settings), &p); err != nil {
		return err
	}
	file := os.NewFile(controlFD, "control")
	c, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	control, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("the control socket is of another kind")
	}
	if err := giveUp(); err != nil {
		return err
	}
	for {
		socket, life, err := receive(control)
		if err != nil {
			return err
		}
		go func() { _ = guard.Call(func() error { return serveLink(socket, life, p) }) }()
	}
}

// serveLink is the outside of one step until the build ends it, by closing its direction of the socket life. The other
// direction takes what is told of the step.
func serveLink(socket, life *os.File, p policy.Policy) error {
	defer life.Close()
	defer socket.Close()
	g, err := gateway.Open(context.Background(), socket, p, life)
	if err != nil {
		return err
	}
	defer g.Close()
	closed(life)
	err = g.Tell()
	_ = life.Close() // closing the gateway takes a while, which nobody has to wait for
	return err
}

// receive receives two sockets.
func receive(control *net.UnixConn) (socket, life *os.File, err error) {
	const two = 2
	rights := make([]byte, unix.CmsgSpace(two*4))
	n, m, _, _, err := control.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, net.ErrClosed
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		return nil, nil, errors.Join(errors.New("a message without descriptors"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != two {
		return nil, nil, errors.Join(errors.New("a message with other descriptors"), err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "life"), nil
}

// giveUp takes from this process what it doesn't need: it reads what a hostile step sends.
func giveUp() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close the memory to others: %w", err)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("give up new privileges: %w", errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)),
		uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return fmt.Errorf("give up capabilities: %w", errno)
	}
	return nil
}
