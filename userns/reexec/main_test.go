package reexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/asroot"
)

// The test binary plays three parts: the tests; the caller of Enter, when its
// first argument is "enter"; and the child that Enter makes of that.
func TestMain(m *testing.M) {
	inside, err := Child()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	case inside:
		os.Exit(act(os.Args[2:]))
	case len(os.Args) > 1 && os.Args[1] == "enter":
		os.Exit(enter())
	}
	heedSignals()
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// heedSignals undoes what nohup does: a program that starts with a signal ignored hands it on to nobody, and the tests
// would wait. What they start has the default again for signals that have a handler here.
func heedSignals() {
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// Variables that change what the caller of Enter does.
const (
	envUser       = "TEST_USER"         // login name
	envWide       = "TEST_WIDE"         // ask for a range nobody was given
	envNoNewPrivs = "TEST_NO_NEW_PRIVS" // set no_new_privs first
	envPrivate    = "TEST_PRIVATE"      // MountPrivate
	envCancel     = "TEST_CANCEL"       // a context that is cancelled by SIGUSR1
	envSubOnly    = "TEST_SUB_ONLY"     // FromSubIDs(100000, 65536)
)

var errUSR1 = errors.New("cancelled by the test")

func enter() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if os.Getenv(envCancel) != "" {
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGUSR1)
		go func() { <-c; cancel(errUSR1) }()
	}
	o, err := options(ctx)
	if err == nil && os.Getenv(envNoNewPrivs) != "" {
		err = withoutNewPrivs()
	}
	var code int
	if err == nil {
		code, err = Enter(ctx, o)
	}
	return report(code, err)
}

// withoutNewPrivs executes the program again with no_new_privs set. That is a
// thread's own; executed from there it is the process's.
func withoutNewPrivs() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := os.Unsetenv(envNoNewPrivs); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

func report(code int, err error) int {
	if err == nil {
		return code
	}
	fmt.Fprintln(os.Stderr, err)
	var me *MachineError
	if errors.As(err, &me) || errors.Is(err, userns.ErrNoSubIDs) {
		return 125
	}
	return 99
}

func options(ctx context.Context) (Options, error) {
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	o := Options{UID: uid, GID: gid, UserName: os.Getenv(envUser), Env: []string{"ADDED=yes", "HOME=/replaced"},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	o.MountPrivate = os.Getenv(envPrivate) != ""
	var err error
	if os.Getenv(envSubOnly) != "" {
		sub := []userns.SubIDRange{{Start: 100000, Count: 65536}}
		o.Mapping, err = userns.FromSubIDs(userns.SubIDs{UIDs: sub, GIDs: sub})
		return o, err
	}
	sub, err := userns.Finder{}.Find(ctx, o.owner())
	if err != nil {
		return o, err
	}
	if os.Getenv(envWide) != "" {
		sub.UIDs = []userns.SubIDRange{{Start: 3000000000, Count: 7}}
	}
	o.Mapping, err = userns.Default(uid, gid, sub)
	return o, err
}

// facts are what the child sees.
type facts struct {
	UID, EUID, GID, EGID int
	Groups               []int
	UIDMap, GIDMap       string
	Marker, Added, Home  string
	Tasks                []map[string]string // /proc/self/task/*/status
	RootMount            string
	Args                 []string
	Extra                string // what descriptor 3 reads
	Inherited            int    // see inheritable
	ProcOwner            int    // owner of /proc/self
}

func act(args []string) int {
	switch args[0] {
	case "facts":
		return printFacts()
	case "exit":
		code, _ := strconv.Atoi(args[1])
		return code
	case "die":
		n, _ := strconv.Atoi(args[1])
		_ = unix.Kill(os.Getpid(), syscall.Signal(n))
		select {}
	case "signals":
		return printSignals()
	case "namespaces-off":
		return nested("0")
	case "nested":
		return nested("100")
	}
	return 98
}

// printSignals names each signal that arrives, until SIGTERM does.
func printSignals() int {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	fmt.Println("pid", os.Getpid())
	for s := range c {
		fmt.Println("got", s)
		if s == unix.SIGTERM {
			break
		}
	}
	return 3
}

// nested sets the number of namespaces allowed below this one and enters another.
func nested(limit string) int {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte(limit), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 97
	}
	os.Args = []string{os.Args[0], "enter", "exit", "42"}
	sub := []userns.SubIDRange{{Start: 1, Count: 1000}}
	m, err := userns.Default(0, 0, userns.SubIDs{UIDs: sub, GIDs: sub})
	if err != nil {
		return report(0, err)
	}
	return report(Enter(context.Background(), Options{Mapping: m, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
}

func printFacts() int {
	f := facts{
		UID: os.Getuid(), EUID: os.Geteuid(), GID: os.Getgid(), EGID: os.Getegid(),
		UIDMap: file("/proc/self/uid_map"), GIDMap: file("/proc/self/gid_map"),
		Marker: os.Getenv(marker), Added: os.Getenv("ADDED"), Home: os.Getenv("HOME"),
		Args: os.Args,
	}
	f.Groups, _ = os.Getgroups()
	tasks, _ := filepath.Glob("/proc/self/task/*/status")
	for _, t := range tasks {
		f.Tasks = append(f.Tasks, status(file(t)))
	}
	for line := range strings.Lines(file("/proc/self/mountinfo")) {
		if fields := strings.Fields(line); fields[4] == "/" {
			f.RootMount = line
		}
	}
	b := make([]byte, 16)
	if n, err := unix.Read(3, b); err == nil {
		f.Extra = string(b[:n])
	}
	f.Inherited = inheritable()
	var st unix.Stat_t
	_ = unix.Stat("/proc/self", &st)
	f.ProcOwner = int(st.Uid)
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		return 96
	}
	return 0
}

// inheritable counts the descriptors beyond 3 that survive execve(2).
func inheritable() int {
	count := 0
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		n, _ := strconv.Atoi(fd.Name())
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
		if n > 3 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			count++
		}
	}
	return count
}

func file(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func status(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			switch name {
			case "CapInh", "CapPrm", "CapEff", "CapAmb", "Uid", "Gid":
				m[name] = strings.TrimSpace(value)
			}
		}
	}
	return m
}
