package terminal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/terminal"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOCTTY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// pty opens a terminal that nobody sits at.
func pty(t *testing.T) *os.File {
	t.Helper()
	master := open(t, "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, fmt.Sprintf("/dev/pts/%d", n))
}

func TestOnlyATerminalIsOne(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	closed := open(t, filepath.Join(t.TempDir(), "closed"))
	_ = closed.Close()
	for name, f := range map[string]*os.File{
		"file": open(t, filepath.Join(t.TempDir(), "file")), "null": open(t, os.DevNull), "zero": open(t, "/dev/zero"),
		"pipe": writer, "closed": closed,
	} {
		if terminal.Is(f) {
			t.Errorf("%s is a terminal", name)
		}
		if size, err := terminal.SizeOf(f); err == nil {
			t.Errorf("%s has the size %v", name, size)
		}
	}
	if !terminal.Is(pty(t)) {
		t.Error("a terminal isn't one")
	}
}

func TestATerminalHasTheSizeThatItKnows(t *testing.T) {
	t.Parallel()
	f := pty(t)
	for _, test := range []struct {
		cols, rows uint16
		want       terminal.Size
	}{
		{123, 45, terminal.Size{Width: 123, Height: 45}},
		{0, 0, terminal.Size{Width: 80, Height: 24}},
		{100, 0, terminal.Size{Width: 80, Height: 24}},
	} {
		if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ,
			&unix.Winsize{Col: test.cols, Row: test.rows}); err != nil {
			t.Fatal(err)
		}
		if got, err := terminal.SizeOf(f); err != nil || got != test.want {
			t.Errorf("%d by %d: %v, %v", test.cols, test.rows, got, err)
		}
	}
}
