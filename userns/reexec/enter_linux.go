package reexec

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/headroom"
	"github.com/cooperbuild/cooper/userns"
)

// ready is the byte that the parent writes into the pipe once both maps are in place.
const ready = 'R'

// killGrace is how long the child has to end after its context was cancelled.
const killGrace = 10 * time.Second

// Options say how to enter the namespace.
type Options struct {
	Mapping  userns.Mapping // host IDs as the caller's own namespace counts them
	UID      uint32         // the caller's user ID
	GID      uint32         // the caller's group ID
	UserName string         // the caller's login name, for messages; may be ""
	Env      []string       // NAME=VALUE for the child; these win over the caller's
	// MountPrivate cuts the child off from what the host mounts later on. Without
	// it the host's mounts appear in the child; the child's never appear on the host.
	MountPrivate bool
	// KeepGroups leaves the child the caller's supplementary groups, which it can use and not see.
	KeepGroups bool
	// Stdin, Stdout and Stderr are the child's; nil: it has none.
	Stdin, Stdout, Stderr *os.File
}

func (o Options) owner() userns.User { return userns.User{Name: o.UserName, ID: o.UID} }

// Enter runs this program again, with the same arguments, descriptors and
// directory, as root of a new user namespace with o.Mapping and of a new mount
// namespace. It waits and gives the child's exit status, which for a child that
// a signal ended is 128 plus the signal's number.
//
// SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 don't end the caller while Enter runs but
// go to the child, except for those that the terminal has given to the child
// already. When ctx is cancelled the child gets SIGTERM and ten seconds later
// SIGKILL, and the error is the cause; ctx should not itself be tied to signals.
//
// The error is a [MachineError] if the machine is why there is no child, and the
// exit status means nothing then.
func Enter(ctx context.Context, o Options) (exitCode int, err error) {
	if len(o.Mapping.UIDs.Missing([]uint32{0})) > 0 || len(o.Mapping.GIDs.Missing([]uint32{0})) > 0 {
		return 0, fmt.Errorf("enter user namespace: %w", ErrNoRoot)
	}
	// The child dies with the thread that cloned it (PR_SET_PDEATHSIG), so this
	// thread must last until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 16)
	notify(signals)
	defer signal.Stop(signals)

	c, err := start(o)
	if err != nil {
		return 0, err
	}
	if err := c.release(ctx, o); err != nil {
		c.abort()
		return 0, err
	}
	return c.wait(ctx, signals)
}

// child is a process that waits on a pipe for its maps.
type child struct {
	process *os.Process
	pipe    *os.File // write end; only the parent has it, so the child reads end of file if the parent dies
}

func start(o Options) (*child, error) {
	ambient, err := allCaps()
	if err != nil {
		return nil, err
	}

	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe for child: %w", err)
	}
	defer r.Close()

	// The pipe keeps its number in the child, rather than take 3: the caller may
	// have been started with descriptors that its arguments name (/dev/fd/3).
	fd := r.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
		w.Close()
		return nil, fmt.Errorf("let child inherit pipe: %w", err)
	}

	restore := limitProcesses()
	defer restore()
	process, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{o.Stdin, o.Stdout, o.Stderr},
		Env:   childEnv(os.Environ(), o, fd),
		Sys: &syscall.SysProcAttr{
			// Package syscall adds CLONE_VM and CLONE_VFORK by itself except for a new user namespace. Without them the
			// kernel would copy this process's page tables for the child.
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_VM | unix.CLONE_VFORK,
			AmbientCaps: ambient,
			Pdeathsig:   unix.SIGKILL,
		},
	})
	if err != nil {
		w.Close()
		return nil, Diagnose(procRoot, err)
	}

	return &child{process: process, pipe: w}, nil
}

// limitProcesses lowers this process's limit of processes while the child is cloned. The kernel takes the limit of who
// makes a user namespace for that of all processes in it, whatever their user IDs: so a fork bomb in there leaves the
// user's session room for processes.
func limitProcesses() (restore func()) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &before); err != nil {
		return func() {}
	}
	lower := before
	lower.Cur = min(before.Cur, headroom.Limit(procRoot))
	if unix.Setrlimit(unix.RLIMIT_NPROC, &lower) != nil {
		return func() {}
	}
	return func() { _ = unix.Setrlimit(unix.RLIMIT_NPROC, &before) }
}

// release writes the maps and lets the child go on.
func (c *child) release(ctx context.Context, o Options) error {
	if err := mapIDs(ctx, c.process.Pid, o); err != nil {
		return err
	}
	// The error is dropped: writing fails if the child is dead, and its exit status says why it died.
	_, _ = c.pipe.Write([]byte{ready})
	if err := c.pipe.Close(); err != nil {
		return fmt.Errorf("close pipe to child: %w", err)
	}
	return nil
}

// abort ends a child that has not been released. It is killed before its pipe is
// closed, so that it can't say anything about a parent that is gone.
func (c *child) abort() {
	_ = c.process.Kill()
	_, _ = c.process.Wait()
	_ = c.pipe.Close()
}

func (c *child) wait(ctx context.Context, signals <-chan os.Signal) (int, error) {
	type result struct {
		state *os.ProcessState
		err   error
	}

	done := make(chan result, 1)
	go func() {
		state, err := c.process.Wait()
		done <- result{state, err}
	}()

	cancelled := ctx.Done()
	var cause error
	var grace <-chan time.Time
	for {
		select {
		case r := <-done:
			if r.err != nil {
				return 0, fmt.Errorf("wait for child: %w", r.err)
			}
			return exitStatus(r.state), cause
		case s := <-signals:
			if !fromTerminal(s) {
				_ = c.process.Signal(s) // fails if the child has ended, which the next turn of the loop sees
			}
		case <-cancelled:
			cancelled, cause = nil, context.Cause(ctx)
			_ = c.process.Signal(unix.SIGTERM)
			grace = time.After(killGrace)
		case <-grace:
			_ = c.process.Kill()
		}
	}
}

// exitStatus follows the shell's convention for a process that a signal ended.
func exitStatus(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// childEnv gives the environment of the child: the caller's, then o.Env, then the marker. Each name is there once: of
// two values of a name the Go runtime takes the first, and C programs either.
func childEnv(environ []string, o Options, fd uintptr) []string {
	m := mark{fd: int(fd), parent: os.Getpid(), propagation: unix.MS_SLAVE, keepGroups: o.KeepGroups}
	if o.MountPrivate {
		m.propagation = unix.MS_PRIVATE
	}
	added := append(o.Env[:len(o.Env):len(o.Env)], marker+"="+m.String())
	replaced := make(map[string]bool, len(added))
	for _, kv := range added {
		name, _, _ := strings.Cut(kv, "=")
		replaced[name] = true
	}
	env := make([]string, 0, len(environ)+len(added))
	for _, kv := range environ {
		if name, _, _ := strings.Cut(kv, "="); !replaced[name] {
			env = append(env, kv)
		}
	}
	return append(env, added...)
}
