package step

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Runtime is an OCI runtime that runs steps in place of the executor's own back end.
type Runtime struct {
	Path string // absolute
	Name string // the first word of its --version: "crun", "runc"...
}

// Errors that those of FindRuntime wrap.
var (
	// ErrNoRuntime is wrapped by the error about an OCI runtime that PATH doesn't have.
	ErrNoRuntime = errors.New("not in PATH")
	// ErrNotRuntime is wrapped by the error about a program that isn't an OCI runtime.
	ErrNotRuntime = errors.New("is no OCI runtime")
)

// RuntimeNames are the runtimes that FindRuntime looks for, best first.
func RuntimeNames() []string { return []string{"crun", "runc"} }

// Bounds for asking a runtime for its version.
const (
	versionTime  = 10 * time.Second
	versionPause = time.Second // how long its output may stay open after the program has ended
	versionSize  = 4096        // bytes of its output that are kept
)

var errNoAnswer = fmt.Errorf("gave no answer in %d s", int(versionTime.Seconds()))

// FindRuntime finds a runtime: one of RuntimeNames in PATH, the first of them that is there for "", or the program at a
// path with a slash. It is executed, to tell its version.
func FindRuntime(ctx context.Context, name string) (Runtime, error) {
	path, err := runtimePath(name)
	if err != nil {
		return Runtime{}, err
	}
	out, err := askVersion(ctx, path)
	if err != nil {
		return Runtime{}, fmt.Errorf("%s %w: --version: %w", path, ErrNotRuntime, err)
	}
	first, rest, _ := strings.Cut(out, " ")
	if first == "" || !strings.HasPrefix(rest, "version ") {
		return Runtime{}, fmt.Errorf("%s %w: --version doesn't say so", path, ErrNotRuntime)
	}
	return Runtime{Path: path, Name: first}, nil
}

// askVersion gives the output of path --version. Processes of its group that are left running are killed.
func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, versionTime, errNoAnswer)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = kill, versionPause
	var out firstBytes
	cmd.Stdout = &out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay): // a process of the group has the output still open
		_ = kill()
	case err != nil:
		return "", err
	}
	return string(out), nil
}

// firstBytes is a writer that keeps the first versionSize bytes. It accepts more, so that the program isn't stopped.
type firstBytes []byte

func (b *firstBytes) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), versionSize-len(*b))]...)
	return len(p), nil
}

func runtimePath(name string) (string, error) {
	if strings.Contains(name, "/") {
		path, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		st, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("find runtime: %w", err)
		}
		if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%s %w: it is no program", path, ErrNotRuntime)
		}
		return path, nil
	}

	names := []string{name}
	if name == "" {
		names = RuntimeNames()
	}

	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return filepath.Abs(path)
		}
	}

	return "", fmt.Errorf("%s: %w", strings.Join(names, ", "), ErrNoRuntime)
}
