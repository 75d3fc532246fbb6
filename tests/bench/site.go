package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// siteSize is the size of a site's sparse file in bytes: a few copies of the largest input.
	siteSize = 24 << 30
	// commandTimeout ends a contender that hangs.
	commandTimeout = 10 * time.Minute
	// cleanupTimeout bounds what is done after an interrupt as well; removing many files from a busy disk takes minutes.
	cleanupTimeout = 5 * time.Minute
	// stderrKept is how many of a failed command's last bytes on stderr its error shows.
	stderrKept = 2000
)

// A site is a home directory to measure in, on its own new file system if bench is root.
type site struct {
	// Home is the directory, Context the one in it that holds the input.
	Home, Context string
	account       account
	image         string
}

// A sample is one measurement.
type sample struct {
	// Wall is the time from start to exit.
	Wall time.Duration
	// Peak is the largest resident set of any of the processes, in bytes; 0 if it was not measured.
	Peak int64
	// Durable is Wall plus the time that flushing the file system took afterwards; 0 if it was not measured.
	Durable time.Duration
	// Processor is the time that processors worked for it, in user code and in the kernel; 0 if it was not measured.
	Processor time.Duration
}

// newSite makes the n-th site below dir. The caller closes it.
func newSite(ctx context.Context, dir string, n int, a account) (_ *site, err error) {
	s := &site{Home: filepath.Join(dir, fmt.Sprintf("home-%d", n)), account: a}
	s.Context = filepath.Join(s.Home, "context")
	if err := os.Mkdir(s.Home, 0o755); err != nil {
		return nil, fmt.Errorf("make site: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if a.switched {
		if err := s.mount(ctx, filepath.Join(dir, fmt.Sprintf("site-%d.ext4", n))); err != nil {
			return nil, err
		}
	}
	for _, sub := range []string{s.Home, s.Context, s.runtimeDir(), s.tempDir()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("make site: %w", err)
		}
		if err := os.Chown(sub, int(a.UID), int(a.GID)); err != nil {
			return nil, fmt.Errorf("make site: %w", err)
		}
	}
	return s, nil
}

func (s *site) runtimeDir() string { return filepath.Join(s.Home, "run") }
func (s *site) tempDir() string    { return filepath.Join(s.Home, "tmp") }

// mount puts a new ext4 on Home. Its tables are written at once: the kernel would otherwise do it in the background,
// while something is measured.
func (s *site) mount(ctx context.Context, image string) error {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make file system image: %w", err)
	}
	s.image = image
	if err := errors.Join(f.Truncate(siteSize), f.Close()); err != nil {
		return fmt.Errorf("make file system image: %w", err)
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-N", "1000000",
		"-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
		return err
	}
	return command(ctx, "mount", "-o", "loop", image, s.Home)
}

// close unmounts and removes the site.
func (s *site) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if s.image == "" {
		// Files of subordinate IDs can be removed by their user only from inside a namespace that has these IDs.
		return command(ctx, "unshare", "--map-root-user", "--map-auto", "rm", "-rf", s.Home)
	}
	var errs []error
	// A store keeps a bind mount of its own in namespaces that have ended by now; --recursive is for those that have not.
	if err := command(ctx, "umount", "--recursive", s.Home); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.Remove(s.image), os.Remove(s.Home))...)
}

// settle writes all dirty pages of the site to disk, so that no contender pays for the one before it.
func (s *site) settle() (time.Duration, error) {
	started := time.Now()
	dir, err := os.Open(s.Home)
	if err != nil {
		return 0, fmt.Errorf("open site: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return 0, fmt.Errorf("flush site: %w", err)
	}
	return time.Since(started), nil
}

// run starts a program as the site's user, waits for it and returns what it took and what it wrote to stdout.
func (s *site) run(ctx context.Context, argv ...string) (sample, string, error) {
	var stdout bytes.Buffer
	stderr := &tail{}
	took, err := s.start(ctx, argv, func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = &stdout, stderr })
	if err != nil {
		return took, "", fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, stderr)
	}
	return took, strings.TrimSpace(stdout.String()), nil
}

// trace starts a Go program and returns the trace of its start.
func (s *site) trace(ctx context.Context, argv ...string) (sample, string, error) {
	var stderr bytes.Buffer
	took, err := s.start(ctx, argv, func(cmd *exec.Cmd) {
		cmd.Stderr = &stderr
		cmd.Env = append(cmd.Env, traceInits)
	})
	if err != nil {
		return took, "", fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, &stderr)
	}
	return took, stderr.String(), nil
}

// start runs a program as the site's user, as prepared by set.
func (s *site) start(ctx context.Context, argv []string, set func(*exec.Cmd)) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.Home
	cmd.Env = []string{"HOME=" + s.Home, "USER=" + s.account.Name, "LOGNAME=" + s.account.Name, "LANG=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR=" + s.runtimeDir(),
		"TMPDIR=" + s.tempDir()}
	set(cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.account.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.account.UID, Gid: s.account.GID}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	started := time.Now()
	err := cmd.Run()
	took := sample{Wall: time.Since(started)}
	if err != nil {
		return took, err
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		took.Peak = usage.Maxrss << 10
	}
	return took, nil
}

// write makes a file of the site that its user owns.
func (s *site) write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write input: %w", err)
	}
	return nil
}

// tail keeps the last stderrKept bytes written to it.
type tail struct{ kept []byte }

var _ io.Writer = (*tail)(nil)

// Write keeps the end of p.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if surplus := len(t.kept) - stderrKept; surplus > 0 {
		t.kept = append(t.kept[:0], t.kept[surplus:]...)
	}
	return len(p), nil
}

// String returns what was kept.
func (t *tail) String() string { return strings.TrimSpace(string(t.kept)) }

// namespaced starts a program n times, one after the other, each in new namespaces of the kinds that a RUN step gets.
func (s *site) namespaced(ctx context.Context, n int, argv ...string) error {
	for range n {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC |
				syscall.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
			UidMappings: []syscall.SysProcIDMap{{HostID: int(s.account.UID), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: int(s.account.GID), Size: 1}},
		}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run %s in namespaces: %w", strconv.Quote(strings.Join(argv, " ")), err)
		}
	}
	return nil
}
