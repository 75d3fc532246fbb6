// Package usertest runs a package's tests as root: of this machine, or, when an ordinary user runs them, of a user
// namespace made of that user's own subordinate IDs, as cooper does.
package usertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"syscall"

	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// Main gives the exit status of tests, such as m.Run of TestMain. It must be the first thing that TestMain does in the
// program and in those that it starts again. Tests named TestAsRoot... are started by the machine's root alone. isChild
// is for programs that start themselves for other reasons, too: it does what they were started for, and says whether
// there was something.
func Main(tests func() int, isChild ...func() bool) int {
	code, err := run(tests, isChild)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(tests func() int, isChild []func() bool) (code int, err error) {
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
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			return 1, err
		}
	}
	return tests(), nil
}

// Both is Main for tests that root runs twice: as itself, and as root of a user namespace.
func Both(tests func() int) int {
	return Main(func() int {
		code := tests()
		if code == 0 && asroot.Real() && !strings.Contains(strings.Join(os.Args, " "), "-test.fuzz") {
			code = Again(true)
		}
		return code
	})
}

// Again runs the same tests in a process of its own, with more variables, and in a user and mount namespace if wanted:
// its status.
func Again(namespace bool, env ...string) int {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if namespace {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65535}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids,
			GidMappingsEnableSetgroups: true,
		}
	}
	if err := cmd.Run(); err != nil {
		fmt.Printf("again, namespace=%t %s: %v\n", namespace, strings.Join(env, " "), err)
		return 1
	}
	return 0
}

// enter runs the tests again in the user's namespace.
func enter(ctx context.Context) (code int, err error) {
	u, err := user.Current()
	if err != nil {
		return 1, err
	}
	uid, gid := userns.OwnIDs()
	sub, err := userns.Finder{}.Find(ctx, userns.Owner{Name: u.Username, ID: uid})
	if err != nil {
		return 1, err
	}
	mapping, err := userns.Default(uid, gid, sub)
	if err != nil {
		return 1, err
	}
	return reexec.Enter(ctx, reexec.Options{
		Mapping: mapping, UID: uid, GID: gid, UserName: u.Username,
		Env:   userns.CallerEnv(), // which containers/storage looks at
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}
