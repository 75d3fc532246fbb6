package executor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
)

// inTerminal runs a step with a terminal that is given the input, and gives what the terminal shows.
func (b *box) inTerminal(s executor.Step, input string) string {
	b.t.Helper()
	var out bytes.Buffer
	s.Terminal = func(other *os.File) func() error {
		b.must(unix.IoctlSetWinsize(int(other.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 34}))
		b.must(unix.SetNonblock(int(other.Fd()), true)) // Fd makes it block
		if _, err := other.WriteString(input); err != nil {
			b.t.Error(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(&out, other)
			read <- err
		}()
		return func() error {
			if err := <-read; !errors.Is(err, unix.EIO) {
				return err
			}
			return nil
		}
	}
	status, err := executor.Run(context.Background(), s)
	if err != nil || status.ExitCode != 0 {
		b.t.Fatalf("%+v %v: %s", status, err, out.String())
	}
	return out.String()
}

// onlyNative stops a test of what OCI runtimes don't do, when it has seen that they say so.
func onlyNative(t *testing.T, s executor.Step) bool {
	t.Helper()
	if s.Runtime == nil {
		return true
	}
	if _, err := executor.Run(context.Background(), s); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with %s: %v", s.Runtime.Name, err)
	}
	return false
}

func TestStepHasATerminalOfItsOwn(t *testing.T) {
	b := newBox(t)
	s := b.sh(`tty; ls -l /proc/self/fd/0 | grep -c pts/0; stty size; read x; echo "got $x"; echo y >/dev/tty; stat -c %u:%g:%a /dev/pts/0`)
	s.User = "alice"
	b.must(os.Symlink("busybox", b.path("layer/bin/stty")))
	s.Terminal = func(*os.File) func() error { return func() error { return nil } }
	if !onlyNative(t, s) {
		return
	}
	shown := b.inTerminal(s, "text\n")
	for _, want := range []string{"/dev/pts/0\r\n", "12 34\r\n", "got text\r\n", "\r\ny\r\n", "1000:5:620\r\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in %q", want, shown)
		}
	}
}

// Ctrl-C goes to the processes in the foreground of the step's terminal. The kernel drops what is on its way to the
// terminal after it has sent the signal, and with it what the step writes by then, unless noflsh is set.
func TestInterruptFromATerminal(t *testing.T) {
	b := newBox(t)
	b.must(os.Symlink("busybox", b.path("layer/bin/stty")))
	s := b.sh(`stty noflsh; trap 'echo caught; exit 0' INT; echo ready; while :; do sleep 0.1; done`)
	s.Terminal = func(*os.File) func() error { return func() error { return nil } }
	if !onlyNative(t, s) {
		return
	}
	var out bytes.Buffer
	s.Terminal = func(other *os.File) func() error {
		read := make(chan struct{})
		go func() {
			defer close(read)
			buf := make([]byte, 1000)
			for {
				n, err := other.Read(buf)
				if err != nil {
					return
				}
				out.Write(buf[:n])
				if strings.Contains(string(buf[:n]), "ready") {
					_, _ = other.Write([]byte{3})
				}
			}
		}()
		return func() error { <-read; return nil }
	}
	status, err := executor.Run(context.Background(), s)
	if err != nil || status.ExitCode != 0 || !strings.Contains(out.String(), "caught") {
		t.Errorf("%+v %v: %q", status, err, out.String())
	}
}

func TestStepReadsItsInput(t *testing.T) {
	b := newBox(t)
	s := b.sh("cat; echo end")
	r, w, err := os.Pipe()
	b.must(err)
	defer r.Close()
	s.Stdin = r
	if !onlyNative(t, s) {
		return
	}
	_, err = w.WriteString("text\n")
	b.must(errors.Join(err, w.Close()))
	if out := b.output(s); out != "text\nend\n" {
		t.Errorf("got %q", out)
	}
}

func TestRootCanBeReadOnly(t *testing.T) {
	b := newBox(t)
	s := b.sh("touch /x || touch /etc/x || echo no; echo y >/dev/shm/y; touch /dev/z; mkdir -p /t/u && ls -d /t/u")
	s.ReadOnly = true
	s.Mounts = []executor.Mount{{Kind: executor.Tmpfs, Target: "/t"}}
	if !onlyNative(t, s) {
		return
	}
	if out := b.output(s); !strings.Contains(out, "no\n") || !strings.HasSuffix(out, "/t/u\n") ||
		strings.Count(out, "Read-only file system") != 2 {
		t.Errorf("got %q", out)
	}
}

// A step opens its standard output by name, whatever its user and its map are.
func TestStepOpensItsOutputByName(t *testing.T) {
	for name, shifted := range map[string]bool{"caller's IDs": false, "shifted": true} {
		b := newBox(t)
		s := b.sh("echo x >/dev/stdout; echo y >/dev/stderr")
		s.User = "alice"
		if shifted {
			b.must(unix.Chmod(b.path("."), 0o755))
			m := userns.Map{{Container: 0, Host: 2000, Length: 60000}}
			s.Mapping, s.Shifted = &userns.Mapping{UIDs: m, GIDs: m}, true
			for _, dir := range []string{"upper", "work", "layer"} {
				b.must(os.Chown(b.path(dir), 2000, 2000))
			}
		}
		if out := b.output(s); out != "x\ny\n" {
			t.Errorf("%s: got %q", name, out)
		}
	}
}

func TestTerminalIsRestored(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	settings := func() unix.Termios {
		now, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *now
	}
	before := settings()
	restore, err := executor.KeepTerminal(master)
	if err != nil {
		t.Fatal(err)
	}
	raw := before
	raw.Lflag, raw.Iflag = 0, 0
	if err := unix.IoctlSetTermios(int(master.Fd()), unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	if err := restore(); err != nil || settings() != before {
		t.Errorf("%v, settings %+v, before %+v", err, settings(), before)
	}
	if _, err := executor.KeepTerminal(os.Stderr); err == nil && !isTerminal(os.Stderr) {
		t.Error("what is no terminal was kept")
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
