package reexec

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
)

// patience is the time after which a test gives up on an event.
const patience = 20 * time.Second

// ordinary is a user with subordinate IDs who can run this test binary.
type ordinary struct {
	name       string
	uid, gid   uint32
	dir        string // world-readable
	binary     string
	credential *syscall.Credential // nil: the tests run as that user already
	sub        userns.SubIDs
}

func newOrdinary(t *testing.T) *ordinary {
	t.Helper()
	u := &ordinary{name: fmt.Sprintf("coopertest%d", os.Getpid())}
	if os.Getuid() == 0 {
		useradd(t, u.name)
		t.Cleanup(func() { _ = retry("userdel", u.name) })
	} else {
		me, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		u.name = me.Username
	}
	entry, err := user.Lookup(u.name)
	if err != nil {
		t.Fatal(err)
	}
	u.uid, u.gid = number(t, entry.Uid), number(t, entry.Gid)
	if os.Getuid() == 0 {
		u.credential = &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: []uint32{u.gid, 4321}}
	}
	u.sub, err = userns.Finder{}.Find(t.Context(), userns.User{Name: u.name, ID: u.uid})
	if err != nil {
		t.Fatal(err)
	}
	u.dir = publicDir(t)
	u.binary = filepath.Join(u.dir, "reexec.test")
	copyFile(t, "/proc/self/exe", u.binary, 0o755)
	return u
}

// useradd waits for others that hold the lock on the password file.
func useradd(t *testing.T, name string) {
	t.Helper()
	if err := retry("useradd", "--no-create-home", "--shell", "/bin/sh", name); err != nil {
		t.Fatal(err)
	}
}

func retry(program string, args ...string) error {
	var out []byte
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if out, err = exec.Command(program, args...).CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s: %w: %s", program, err, out)
}

func number(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "reexec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, mode)
	}
	if err == nil {
		err = os.Chmod(to, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// command is a caller of Enter whose child does the action.
func (u *ordinary) command(env []string, action ...string) *exec.Cmd {
	cmd := exec.Command(u.binary, append([]string{"enter"}, action...)...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", envUser + "=" + u.name, "HOME=/home"}, env...)
	cmd.Dir = "/"
	// A session of its own, so that no terminal of the tester's plays a part.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.credential, Setsid: true}
	return cmd
}

// run gives standard output, standard error and the exit status.
func (u *ordinary) run(t *testing.T, env []string, action ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := u.command(env, action...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestEnterAsOrdinaryUser(t *testing.T) {
	u := newOrdinary(t)
	t.Run("child is root of its namespace", u.testFacts)
	t.Run("exit status passes through", u.testExit)
	t.Run("death by signal becomes 128+n", u.testDeath)
	t.Run("signals reach the child", u.testSignals)
	t.Run("terminal's interrupt arrives once", u.testTerminal)
	t.Run("cancelled context ends the child", u.testCancel)
	t.Run("kill -9 of the parent kills the child", u.testParentKilled)
	t.Run("kill -9 of the parent during set-up kills the child", u.testParentKilledEarly)
	t.Run("what is missing is said with its remedy", u.testMissing)
	if u.credential != nil { // only root can become somebody else
		t.Run("users that are not as newuidmap knows them", u.testStrangers)
	}
	t.Run("marker from elsewhere is refused", u.testForeignMarker)
	t.Run("namespace inside the namespace", u.testNested)
}

func (u *ordinary) testFacts(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("inherited"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer r.Close()
	cmd := u.command(nil, "facts", "with an", "argument\n")
	cmd.ExtraFiles = []*os.File{r}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var f facts
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatal(err)
	}
	if f.UID != 0 || f.EUID != 0 || f.GID != 0 || f.EGID != 0 || len(f.Groups) != 0 {
		t.Errorf("uid %d %d, gid %d %d, groups %v, want all 0 and none", f.UID, f.EUID, f.GID, f.EGID, f.Groups)
	}
	want, err := userns.Default(u.uid, u.gid, u.sub)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		name, got string
		want      userns.Map
	}{{"uid_map", f.UIDMap, want.UIDs}, {"gid_map", f.GIDMap, want.GIDs}} {
		got, err := userns.ParseMap(m.got)
		if err != nil || got.String() != m.want.String() {
			t.Errorf("%s is %q (%v), want %q", m.name, got, err, m.want)
		}
	}
	if f.Marker != "" || f.Added != "yes" || f.Home != "/replaced" {
		t.Errorf("environment has marker %q, ADDED=%q, HOME=%q", f.Marker, f.Added, f.Home)
	}
	if len(f.Args) != 5 || f.Args[4] != "argument\n" {
		t.Errorf("arguments are %q", f.Args)
	}
	if f.Extra != "inherited" || f.Inherited != inheritable() {
		t.Errorf("descriptor 3 reads %q, %d descriptors more, want %d", f.Extra, f.Inherited, inheritable())
	}
	if f.ProcOwner != 0 {
		t.Errorf("/proc/self belongs to %d", f.ProcOwner)
	}
	checkTasks(t, f.Tasks)
}

func checkTasks(t *testing.T, tasks []map[string]string) {
	t.Helper()
	if len(tasks) == 0 {
		t.Fatal("no threads were reported")
	}
	known, err := allCaps()
	if err != nil {
		t.Fatal(err)
	}
	all, none := fmt.Sprintf("%016x", uint64(1)<<len(known)-1), fmt.Sprintf("%016x", 0)
	for i, task := range tasks {
		if task["CapPrm"] != all || task["CapEff"] != all || task["CapInh"] != none || task["CapAmb"] != none {
			t.Errorf("thread %d of %d has capabilities %v", i, len(tasks), task)
		}
		if task["Uid"] != "0\t0\t0\t0" || task["Gid"] != "0\t0\t0\t0" {
			t.Errorf("thread %d of %d has IDs %v", i, len(tasks), task)
		}
	}
}

func (u *ordinary) testExit(t *testing.T) {
	for _, want := range []int{0, 1, 7, 125, 255} {
		if _, stderr, code := u.run(t, nil, "exit", strconv.Itoa(want)); code != want {
			t.Errorf("exit status %d, want %d; %s", code, want, stderr)
		}
	}
}

func (u *ordinary) testDeath(t *testing.T) {
	for _, s := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM} {
		if _, stderr, code := u.run(t, nil, "die", strconv.Itoa(int(s))); code != 128+int(s) {
			t.Errorf("%v gives exit status %d; %s", s, code, stderr)
		}
	}
}

// started is a caller of Enter whose child prints signals.
type started struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	child int
}

func (u *ordinary) start(t *testing.T, env []string) *started {
	t.Helper()
	cmd := u.command(env, "signals")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return newStarted(t, cmd, out)
}

func newStarted(t *testing.T, cmd *exec.Cmd, out io.Reader) *started {
	t.Helper()
	s := &started{cmd: cmd, lines: bufio.NewScanner(out)}
	pid, ok := strings.CutPrefix(s.line(t), "pid ")
	if !ok {
		t.Fatalf("child says %q", pid)
	}
	s.child = int(number(t, pid))
	return s
}

func (s *started) line(t *testing.T) string {
	t.Helper()
	if !s.lines.Scan() {
		t.Fatalf("child has closed its output: %v", s.lines.Err())
	}
	return strings.TrimSpace(s.lines.Text())
}

func (s *started) expect(t *testing.T, want string) {
	t.Helper()
	if got := s.line(t); got != want {
		t.Fatalf("child says %q, want %q", got, want)
	}
}

func (s *started) send(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (u *ordinary) testSignals(t *testing.T) {
	s := u.start(t, nil)
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGTERM} {
		s.send(t, sig)
		s.expect(t, "got "+sig.String())
	}
	if err := s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("caller ends with %v, want status 3", err)
	}
}

func (u *ordinary) testTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := u.command(nil, "signals")
	cmd.Stdin, cmd.Stderr = slave, os.Stderr
	cmd.SysProcAttr.Setctty = true
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s := newStarted(t, cmd, out)
	if _, err := master.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	s.expect(t, "got interrupt")
	// The caller takes its signals in order, so a second interrupt would come before this.
	s.send(t, unix.SIGTERM)
	s.expect(t, "got terminated")
}

func (u *ordinary) testCancel(t *testing.T) {
	s := u.start(t, []string{envCancel + "=1"})
	s.send(t, unix.SIGUSR1)
	s.expect(t, "got terminated")
	if err := s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 99 {
		t.Errorf("caller ends with %v, want the cancellation's cause as error", err)
	}
}

// awaitExit waits for the end of a process that is not our child.
func awaitExit(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := fsys.Retry(func() (int, error) { return unix.Poll(fds, int(patience.Milliseconds())) })
	if err != nil || n != 1 {
		t.Fatalf("child is still there: %d, %v", n, err)
	}
}

func openPID(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func (u *ordinary) testParentKilled(t *testing.T) {
	s := u.start(t, nil)
	pidfd := openPID(t, s.child)
	s.send(t, unix.SIGKILL)
	awaitExit(t, pidfd)
}

func (u *ordinary) testParentKilledEarly(t *testing.T) {
	dir := publicDir(t)
	// In place of the real one: says which process it is for and never ends.
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ $1 > %s\nexec /bin/sleep 60\n", fifo)
	if err := os.WriteFile(filepath.Join(dir, "newuidmap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := u.command([]string{"PATH=" + dir + ":/usr/bin:/bin"}, "exit", "0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var self, child int
	in, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := fmt.Fscan(in, &self, &child); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(self, unix.SIGKILL) }()
	pidfd := openPID(t, child)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitExit(t, pidfd)
}

func (u *ordinary) testForeignMarker(t *testing.T) {
	for _, mark := range []string{"", "3", "0,1,slave", "3,1,shared", "99,1,slave", "3,1,entered", "x,y,z"} {
		_, stderr, code := u.run(t, []string{marker + "=" + mark}, "exit", "0")
		if code != 125 || !strings.Contains(stderr, ErrBadMarker.Error()) {
			t.Errorf("marker %q: status %d, %q", mark, code, stderr)
		}
	}
}
