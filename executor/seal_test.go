package executor_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// send opens a file and gives it to whoever listens at /s/socket.
func send(path string, flags int) int {
	fd, err := unix.Open(path, flags, 0)
	if err == nil {
		err = sendTo("/s/socket", fd)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func sendTo(socket string, fd int) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	_, _, err = conn.WriteMsgUnix([]byte{1}, unix.UnixRights(fd), nil)
	return errors.Join(err, conn.Close())
}

// receiver makes the directory s with a socket, and gives what is received there.
func (b *box) receiver() (receive func() int) {
	b.t.Helper()
	b.dir("s")
	b.must(os.Chmod(b.path("s"), 0o777))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.path("s/socket"), Net: "unix"})
	b.must(err)
	b.must(os.Chmod(b.path("s/socket"), 0o777))
	b.t.Cleanup(func() { b.must(l.Close()) })
	return func() int {
		conn, err := l.AcceptUnix()
		b.must(err)
		space := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), space)
		b.must(errors.Join(err, conn.Close()))
		messages, err := unix.ParseSocketControlMessage(space[:n])
		b.must(err)
		fds, err := unix.ParseUnixRights(&messages[0])
		b.must(err)
		b.t.Cleanup(func() { _ = unix.Close(fds[0]) })
		return fds[0]
	}
}

// sending is a step that sends something.
func (b *box) sending(what string) executor.Step {
	b.addSelf()
	s := b.sh("mkdir /d; echo good > /d/file; /self send-" + what)
	s.Mounts = []executor.Mount{{Source: b.dir("s"), Target: "/s"}}
	return s
}

// What a step has written is read and becomes a layer when the step has ended: nobody may go on writing.
func TestNobodyWritesAfterTheStep(t *testing.T) {
	roots := map[string]func(b *box, s *executor.Step){"overlay": func(*box, *executor.Step) {}}
	if backEnd() == nil { // a runtime mounts the directory once more
		roots["directory"] = func(b *box, s *executor.Step) { s.Rootfs = executor.Rootfs{Dir: b.dir("layer")} }
	}
	if !inside() {
		roots["ID-mapped overlay"] = func(b *box, s *executor.Step) { s.Mapping = testMapping(b.t) }
	}
	for name, root := range roots {
		t.Run(name+" by an open directory", func(t *testing.T) {
			b := newBox(t)
			receive := b.receiver()
			s := b.sending("directory")
			root(b, &s)
			b.output(s)
			dir := receive()
			if _, err := unix.Openat(dir, "file", unix.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
				t.Errorf("open for writing: %v", err)
			}
			if err := unix.Mkdirat(dir, "new", 0o755); !errors.Is(err, unix.EROFS) {
				t.Errorf("make a directory: %v", err)
			}
		})
		t.Run(name+" by an open file", func(t *testing.T) {
			b := newBox(t)
			receive := b.receiver()
			s := b.sending("file")
			root(b, &s)
			if _, _, err := b.run(s); !errors.Is(err, executor.ErrStillWritten) {
				t.Errorf("got %v", err)
			}
			receive()
		})
		t.Run(name+" by the open file of a step that fails", func(t *testing.T) {
			b := newBox(t)
			receive := b.receiver()
			s := b.sending("file")
			s.Args[2] += "; exit 3"
			root(b, &s)
			if _, status, err := b.run(s); err != nil || status.ExitCode != 3 {
				t.Errorf("got %+v, %v", status, err)
			}
			receive()
		})
	}
}
