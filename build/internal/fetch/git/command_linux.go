package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// maxOutput bounds the part of git's output that is kept in memory, in bytes.
	maxOutput = 16 << 20
	// maxComplaint bounds the part of git's error output that is kept, in bytes.
	maxComplaint = 8 << 10
)

// gitError is a git command that failed.
type gitError struct {
	command string
	// stderr is the end of git's error output.
	stderr string
	err    error
}

func (e *gitError) Error() string {
	var said []string
	for line := range strings.SplitSeq(e.stderr, "\n") {
		if line = printable.OneLine(line); line != "" && !strings.HasPrefix(line, "hint:") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return fmt.Sprintf("git %s: %v", e.command, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.command, strings.Join(said, "; "))
}

func (e *gitError) Unwrap() error { return e.err }

// command is one run of git.
type command struct {
	program string
	dir     string
	env     []string
	args    []string
	// stdout receives git's standard output.
	stdout io.Writer
	// hide are the secrets that run removes from errors.
	hide []string
}

// run waits for the program. It runs with umask 022, in a process group of its own that is killed when ctx ends, and
// ends with this process.
func (c command) run(ctx context.Context) error {
	path, err := exec.LookPath(c.program)
	if err != nil {
		return fmt.Errorf("%w\nhint: apt-get install git, dnf install git, apk add git or pacman -S git", ErrNoGit)
	}
	complaint := &tail{limit: maxComplaint}
	cmd := exec.CommandContext(ctx, path, c.args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.Stdout, cmd.Stderr = c.stdout, complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	err = fsys.WithUmask(usualUmask, cmd.Run)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	said := complaint.String()
	for _, text := range c.hide {
		if text != "" {
			said = strings.ReplaceAll(said, text, "xxxxx")
		}
	}
	return &gitError{command: subcommand(c.args), stderr: said, err: err}
}

// usualUmask is the umask that git makes work trees with, whatever the caller's is.
const usualUmask = 0o022

// subcommand is the first argument that isn't an option.
func subcommand(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

// tail keeps the end of what is written.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

// limited keeps what is written up to maxOutput.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxOutput {
		return 0, fmt.Errorf("git printed more than %d bytes", maxOutput)
	}
	return l.Buffer.Write(p)
}
