// Package usertest runs a package's tests as root: of this machine, or, when an ordinary user runs them, of a user
// namespace made of that user's own subordinate IDs, as cooper does.
package usertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// memoryEnv is the environment variable that tells a program started again that its temporary files are in memory.
const memoryEnv = "USERTEST_IN_MEMORY"

// Main runs tests, such as m.Run of TestMain, and gives their exit status. Temporary files are in memory: on a disk
// most of the time would be spent waiting for syncs (see OnDisk for tests that need a disk). Main must be the first
// call of TestMain, also in the processes that it starts again. Tests named TestAsRoot... run only if the machine's
// root runs them. isChild is for test programs that start themselves for other reasons: it does the work of such a
// process, and tells whether this was one.
func Main(tests func() int, isChild ...func() bool) int { return status(tests, isChild, true) }

// OnDisk is Main with temporary files in the directory TMPDIR, for tests that are to meet the file system of a disk.
// With -short, root's are in memory as well; an ordinary user's namespace has fewer rights in it.
func OnDisk(tests func() int, isChild ...func() bool) int {
	return status(tests, isChild, short() && asroot.Real())
}

// short reports whether the tests were started with -short. Their flags are not parsed yet when TestMain begins.
func short() bool {
	return slices.Contains(os.Args, "-test.short") || slices.Contains(os.Args, "-test.short=true")
}

func status(tests func() int, isChild []func() bool, inMemory bool) int {
	code, err := run(tests, isChild, inMemory)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(tests func() int, isChild []func() bool, inMemory bool) (code int, err error) {
	inside, err := reexec.Child()
	if err != nil {
		return 1, err
	}
	if !inside && !userns.IsRoot() {
		return enter(context.Background())
	}
	for _, f := range isChild {
		if f() {
			return 0, nil
		}
	}
	if inMemory && os.Getenv(memoryEnv) == "" {
		return runInMemory(tests, inside)
	}
	return start(tests)
}

func start(tests func() int) (code int, err error) {
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			return 1, err
		}
	}
	return tests(), nil
}

// runInMemory runs the tests with a file system in memory for temporary files. Its mount vanishes with the mount
// namespace: inside tells that this process is in one of its own, as an ordinary user's tests are; otherwise the
// program is started again in a new one.
func runInMemory(tests func() int, inside bool) (code int, err error) {
	const dirEnv = memoryEnv + "_DIR"
	dir := os.Getenv(dirEnv)
	if dir == "" {
		// The name is short because the address of a socket has at most 107 bytes.
		if dir, err = os.MkdirTemp("", "u"); err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, os.Remove(dir)) }()
		if !inside {
			return again(os.Stdout, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, dirEnv+"="+dir)(), nil
		}
	}

	if err := mountMemory(dir); err != nil {
		fmt.Printf("temporary files are on the disk: %v\n", err)
		return start(tests)
	}
	if inside {
		defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)) }()
	}

	return start(func() int {
		if err := errors.Join(os.Setenv("TMPDIR", dir), os.Setenv(memoryEnv, "1"), os.Unsetenv(dirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return tests()
	})
}

// mountMemory mounts a file system in memory that only this mount namespace has.
func mountMemory(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// Both gives a function for Main or OnDisk that runs the tests once, or, for root, twice: as root of the machine and as
// root of a user namespace. With -short, once is enough.
func Both(tests func() int) func() int {
	return func() int {
		code := tests()
		if code != 0 || !asroot.Real() || strings.Contains(strings.Join(os.Args, " "), "-test.fuzz") {
			return code
		}
		if short() {
			fmt.Println("not started with -short: the tests in a user namespace")
			return code
		}
		return Again(Run{Namespace: true})
	}
}

// A Run runs the same tests in a process of its own, with more environment variables (NAME=VALUE) and, if Namespace is
// set, in new user and mount namespaces.
type Run struct {
	Namespace bool
	Env       []string
}

// Again starts all the runs at the same time and gives the exit status of the first that fails. It prints their output
// one after the other.
func Again(runs ...Run) int {
	said, ends := make([]bytes.Buffer, len(runs)), make([]func() int, len(runs))
	for i, r := range runs {
		ends[i] = r.start(&said[i])
	}
	code := 0
	for i, r := range runs {
		code = cmp.Or(code, ends[i]())
		fmt.Printf("again, namespace=%t %s\n%s", r.Namespace, strings.Join(r.Env, " "), said[i].String())
	}
	return code
}

func (r Run) start(out io.Writer) (end func() int) {
	if !r.Namespace {
		return again(out, nil, r.Env...)
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65535}}
	return again(out, &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids,
		GidMappingsEnableSetgroups: true,
	}, r.Env...)
}

// again starts this program again. The function that it returns waits for its end and gives the exit status.
func again(out io.Writer, attr *syscall.SysProcAttr, env ...string) (end func() int) {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, attr
	// What would end this process ends that one, so that this one can remove what it has made.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		signal.Stop(signals)
		fmt.Fprintln(os.Stderr, err)
		return func() int { return 1 }
	}
	go func() {
		for got := range signals {
			_ = cmd.Process.Signal(got) // it may have ended
		}
	}()
	return func() int {
		err := cmd.Wait()
		signal.Stop(signals)
		close(signals)
		if code := cmd.ProcessState.ExitCode(); code >= 0 {
			return code
		}
		fmt.Fprintln(out, err) // the program wasn't started, or a signal ended it
		return 1
	}
}

// enter runs the tests again in the user's namespace.
func enter(ctx context.Context) (code int, err error) {
	u, err := user.Current()
	if err != nil {
		return 1, err
	}
	uid, gid := userns.OwnIDs()
	sub, err := userns.Finder{}.Find(ctx, userns.User{Name: u.Username, ID: uid})
	if err != nil {
		return 1, err
	}
	mapping, err := userns.Default(uid, gid, sub)
	if err != nil {
		return 1, err
	}
	return reexec.Enter(ctx, reexec.Options{
		Mapping: mapping, UID: uid, GID: gid, UserName: u.Username,
		Env:   userns.CallerEnv(), // containers/storage reads these variables
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}
