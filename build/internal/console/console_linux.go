package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/progress/lines"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// Streams are what a command is connected with.
type Streams struct {
	Stdin, Stdout, Stderr *os.File
	// Interactive hands on what Stdin has; otherwise the command has no input.
	Interactive bool
	// Terminal gives the command a terminal of its own, which shows on Stdout and, with Interactive, reads from Stdin.
	// What the command writes is handed on as it is then: it may do to the user's terminal whatever a program may.
	Terminal bool
}

// console connects the streams of a command. It hands nothing of the caller's to it: what the command gets are pipes or
// a terminal of its own, so that it can't change the owner, mode or settings of the caller's files.
type console struct {
	Streams
	// interrupted is called when Ctrl-C is typed for a command to which the kernel doesn't hand it on.
	interrupted func()

	ends []func() error // what close calls, the last one first
}

// connect sets the streams of a step.
func (c *console) connect(s *executor.Step) {
	if c.Terminal {
		s.Terminal = c.begin
		return
	}
	s.Stdout, s.Stderr = Output(c.Stdout), Output(c.Stderr)
	if !c.Interactive {
		return
	}
	r, w, err := os.Pipe()
	if err == nil {
		s.Stdin = r
		c.ends = append(c.ends, r.Close)
		err = c.feed(w, w, w.Close)
	}
	if err != nil {
		c.ends = append(c.ends, func() error { return fmt.Errorf("connect the input: %w", err) })
	}
}

// Output is where a stream of the command goes. On a terminal it does nothing but show.
func Output(f *os.File) io.Writer {
	if terminal.Is(f) {
		return lines.Safe(f)
	}
	return struct{ io.Writer }{f} // not a file, which the command would get itself
}

// close ends all that hands on something.
func (c *console) close() error {
	var errs []error
	for i := len(c.ends) - 1; i >= 0; i-- {
		errs = append(errs, c.ends[i]())
	}
	c.ends = nil
	return errors.Join(errs...)
}

// begin connects the other side of the command's terminal; see executor.Step. What can't be done is an error at the
// end.
func (c *console) begin(other *os.File) (end func() error) {
	err := c.follow(other)
	if c.Interactive {
		if terminal.Is(c.Stdin) {
			err = errors.Join(err, c.raw())
		}
		err = errors.Join(err, c.feed(keys{other, c.interrupted}, other, nil))
	}
	shown := make(chan error, 1)
	go func() {
		shown <- guard.Call(func() error {
			_, err := io.Copy(struct{ io.Writer }{c.Stdout}, other)
			return err
		})
	}()
	return func() error {
		err := errors.Join(err, ended(<-shown))
		return errors.Join(err, c.close())
	}
}

// ended is nil for the errors with which reading a terminal's other side ends when nobody has the terminal any more, or
// when only a process outside of the step has it.
func ended(err error) error {
	if errors.Is(err, unix.EIO) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// raw has the user's terminal hand on each key, until close.
func (c *console) raw() error {
	restore, err := executor.KeepTerminal(c.Stdin)
	if err != nil {
		return err
	}
	c.ends = append(c.ends, restore)
	return terminal.MakeRaw(c.Stdin)
}

// follow gives the command's terminal the size of the user's, until close.
func (c *console) follow(other *os.File) error {
	resize := func() error {
		for _, f := range []*os.File{c.Stdout, c.Stdin} {
			if size, err := terminal.SizeOf(f); err == nil {
				return terminal.Resize(other, size)
			}
		}
		return nil
	}
	changes, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(changes, unix.SIGWINCH)
	go func() {
		defer close(stopped)
		for range changes {
			_ = guard.Call(resize) // the size stays as it was
		}
	}()
	c.ends = append(c.ends, func() error {
		signal.Stop(changes)
		close(changes)
		<-stopped
		return nil
	})
	return resize()
}

// feed hands on the input to w, which writes to the file to, until the end of either or until close. atEnd is called at
// the end of the input, if it isn't nil.
func (c *console) feed(w io.Writer, to *os.File, atEnd func() error) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = guard.Call(func() error { return handOn(w, c.Stdin, wake) }) // a command needn't read all of its input
		if atEnd != nil {
			_ = atEnd()
		}
	}()
	c.ends = append(c.ends, func() error {
		err := fsys.WriteAll(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		_ = to.SetWriteDeadline(time.Now()) // it may be closed already
		<-stopped
		return errors.Join(err, unix.Close(wake))
	})
	return nil
}

// handOn copies to w until the end of either, or until there is something to read from wake.
func handOn(w io.Writer, in *os.File, wake int) error {
	conn, err := in.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		var n int
		controlErr := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
			if _, err = fsys.Retry(func() (int, error) { return unix.Poll(fds, -1) }); err != nil || fds[1].Revents != 0 {
				return
			}
			n, err = fsys.Retry(func() (int, error) { return unix.Read(int(fd), buf) })
		})
		switch err = errors.Join(controlErr, err); {
		case errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || n <= 0:
			return err
		}
		if _, err = w.Write(buf[:n]); err != nil {
			return err
		}
	}
}
