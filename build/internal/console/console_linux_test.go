package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/terminal"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// pty opens both sides of a terminal; of the master, reads can be ended.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "master")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = master.Close(), slave.Close() })
	return master, slave
}

func TestInputIsHandedOnUntilItsEnd(t *testing.T) {
	t.Parallel()
	r, w := pipe(t)
	c := console{Streams: Streams{Stdin: r, Stdout: os.Stdout, Stderr: os.Stderr, Interactive: true}}
	var s executor.Step
	c.connect(&s)
	text := strings.Repeat("x", 200<<10) // more than a pipe holds
	wrote := make(chan error, 1)
	go func() {
		_, err := w.WriteString(text)
		wrote <- errors.Join(err, w.Close())
	}()
	got, err := io.ReadAll(s.Stdin)
	if err = errors.Join(err, <-wrote, c.close()); err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for name, out := range map[string]io.Writer{"output": s.Stdout, "errors": s.Stderr} {
		if _, isFile := out.(*os.File); isFile {
			t.Errorf("%s: the command gets the caller's file", name)
		}
	}
}

// A command that has ended, or that reads nothing, keeps nobody from going on.
func TestInputIsLetGoOf(t *testing.T) {
	t.Parallel()
	for name, typed := range map[string]string{"nothing comes": "", "nothing is read": strings.Repeat("x", 400<<10)} {
		r, w := pipe(t)
		go func() { _, _ = w.WriteString(typed) }() // until r is closed
		c := console{Streams: Streams{Stdin: r, Stdout: os.Stdout, Stderr: os.Stderr, Interactive: true}}
		c.connect(new(executor.Step))
		if err := c.close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutInteractiveThereIsNoInput(t *testing.T) {
	t.Parallel()
	c := console{Streams: Streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}}
	var s executor.Step
	c.connect(&s)
	if s.Stdin != nil || s.Terminal != nil {
		t.Errorf("%+v", s)
	}
}

func TestOutputOnATerminalIsHarmless(t *testing.T) {
	t.Parallel()
	master, slave := pty(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	const text = "a\x1b[2Jb\n"
	for _, f := range []*os.File{slave, file} {
		if _, err := Output(f).Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	shown := make([]byte, 100)
	n, err := master.Read(shown)
	if err != nil || strings.Contains(string(shown[:n]), "\x1b") {
		t.Errorf("the terminal gets %q, %v", shown[:n], err)
	}
	if got, err := os.ReadFile(file.Name()); string(got) != text {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestTerminalsAreConnected(t *testing.T) {
	t.Parallel()
	user, shell := pty(t)    // the user's terminal, and what a shell starts cooper with
	other, command := pty(t) // the command's
	if err := terminal.Resize(user, terminal.Size{Width: 77, Height: 11}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(shell.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	interrupts := 0
	c := console{
		Streams:     Streams{Stdin: shell, Stdout: shell, Stderr: shell, Interactive: true, Terminal: true},
		interrupted: func() { interrupts++ },
	}
	var s executor.Step
	c.connect(&s)
	end := s.Terminal(other)

	if size, err := terminal.SizeOf(command); err != nil || size != (terminal.Size{Width: 77, Height: 11}) {
		t.Errorf("the command's terminal is %v, %v", size, err)
	}
	buf := make([]byte, 100)
	for _, way := range []struct {
		from, to   *os.File
		text, want string
	}{{user, command, "typed\r", "typed\n"}, {command, user, "\x1b[1mbold", "typed\r\n\x1b[1mbold"}} {
		if _, err := way.from.WriteString(way.text); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for got.Len() < len(way.want) {
			n, err := way.to.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(buf[:n])
		}
		if got.String() != way.want {
			t.Errorf("%q comes as %q, want %q", way.text, got.String(), way.want)
		}
	}
	if err := command.Close(); err != nil { // it has ended
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	after, err := unix.IoctlGetTermios(int(shell.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the user's terminal is %+v, was %+v (%v)", after, before, err)
	}
	if interrupts != 0 {
		t.Error("there was an interrupt")
	}
}

func TestStatusesOfErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[int]error{
		127: &executor.StartError{Err: unix.ENOENT}, 126: fmt.Errorf("x: %w", &executor.StartError{Err: unix.EACCES}),
		125: errors.New("something else"),
	} {
		if got := StatusOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
