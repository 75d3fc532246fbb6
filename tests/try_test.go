package tests_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tried makes the image app, whose settings all differ from the defaults.
func (s *site) tried(t *testing.T) {
	t.Helper()
	s.busybox(t, "base")
	s.write(t, "ctx/Containerfile", `FROM base
ENV A=image B=image
RUN mkdir /work && chown alice:staff /work
WORKDIR /work
USER alice:staff
ENTRYPOINT ["/bin/sh", "-c", "echo \"$0\" \"$@\"; echo $A $B; pwd; id -u; id -g"]
CMD ["cmd", "arg"]
`)
	s.build(t, "-q", "-t", "app", "ctx")
}

func TestRunHonoursTheImageAndItsFlags(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.tried(t)
		s.write(t, "vars", "# a comment\n\nA=file\n  C=x y\nPATH\n")
		s.write(t, "dir/f", "of the host\n")
		layers := len(s.layers(t))
		writable := ":/v"
		if m.root() { // whose commands have other IDs than the host
			writable += ":idmap"
		}
		sh := []string{"--entrypoint", "sh", "app", "-c"}
		for name, test := range map[string]struct {
			args []string
			want string
			code int
		}{
			"image":     {[]string{"app"}, "cmd arg\nimage image\n/work\n1000\n50\n", 0},
			"arguments": {[]string{"--rm", "app", "x", "-e", "y"}, "x -e y\nimage image\n/work\n1000\n50\n", 0},
			"settings": {[]string{"-e", "A=flag", "-w", "/new/dir", "-u", "33:0", "app", "x"},
				"x\nflag image\n/new/dir\n33\n0\n", 0},
			"variables of a file": {[]string{"--env-file", "vars", "-e", "B=flag", "app", "x"},
				"x\nfile flag\n/work\n1000\n50\n", 0},
			"entry point":       {[]string{"--entrypoint", "echo", "app", "x"}, "x\n", 0},
			"entry point, JSON": {[]string{"--entrypoint", `["echo","a b"]`, "app", "x"}, "a b x\n", 0},
			"no entry point":    {[]string{"--entrypoint", "", "app", "echo", "x"}, "x\n", 0},
			"status":            {append(sh, "exit 42"), "", 42},
			"signal":            {append(sh, "(sleep 1000; :) & kill -9 $!; wait $!; exit $?"), "", 137},
			"host name": {append([]string{"--hostname", "box"}, append(sh, "hostname; echo $HOSTNAME")...),
				"box\nbox\n", 0},
			"no network": {append([]string{"--network", "none"}, append(sh, "ls /sys/class/net")...), "lo\n", 0},
			"no input":   {append(sh, "cat; readlink /proc/self/fd/0"), "/dev/null\n", 0},
			"volume": {append([]string{"-u", "0", "-v", s.path("dir") + writable}, append(sh, "cat /v/f; echo new >/v/new")...),
				"of the host\n", 0},
			"read-only volume": {append([]string{"-u", "0", "-v", s.path("dir") + ":/v:ro"},
				append(sh, "echo x 2>/dev/null >/v/x || echo no")...),
				"no\n", 0},
			"volume to throw away": {append([]string{"-u", "0", "-v", s.path("dir") + ":/v:O"},
				append(sh, "echo x >/v/gone; cat /v/gone")...),
				"x\n", 0},
			"read-only root": {append([]string{"-u", "0", "--read-only"},
				append(sh, "touch /x 2>/dev/null || echo no; touch /dev/shm/x")...),
				"no\n", 0},
			"writable root": {append([]string{"-u", "0"},
				append(sh, "echo x >/x; cat /x; rm -r /etc && ls -d /etc 2>/dev/null || echo no")...), "x\nno\n", 0},
			"limit":              {append([]string{"--ulimit", "nofile=99"}, append(sh, "ulimit -n")...), "99\n", 0},
			"output by its name": {append(sh, "echo x >/dev/stdout; echo y >/dev/stderr"), "x\n", 0},
		} {
			r := s.cooper(t, append([]string{"run"}, test.args...)...)
			if r.Code != test.code || r.Stdout != test.want {
				t.Errorf("%s: status %d, %q, want %d, %q\n%s", name, r.Code, r.Stdout, test.code, test.want, r.Stderr)
			}
		}
		if entries, err := os.ReadDir(s.path("dir")); err != nil || len(entries) != 2 {
			t.Errorf("the volume has %v (%v)", entries, err)
		}
		if now := len(s.layers(t)); now != layers {
			t.Errorf("%d layers, before %d", now, layers)
		}
		s.checkNoLeftovers(t)
	})
}

func TestRunGivesTheStatusesOfContainerEngines(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.tried(t)
		s.write(t, "none/Containerfile", "FROM scratch\nCOPY f /\n")
		s.write(t, "none/f", "")
		s.build(t, "-q", "-t", "nothing", "none")
		for name, test := range map[string]struct {
			args []string
			code int
			says string
		}{
			"no such program":  {[]string{"--entrypoint", "nope", "app"}, 127, "not found in the image's PATH"},
			"no such path":     {[]string{"--entrypoint", "/no/such", "app"}, 127, "no such file in the image"},
			"not executable":   {[]string{"--entrypoint", "/etc/passwd", "app"}, 126, "may not be executed"},
			"directory":        {[]string{"--entrypoint", "/etc", "app"}, 126, "may not be executed"},
			"no such image":    {[]string{"--pull=never", "nosuch"}, 125, "no such image in the store"},
			"no command":       {[]string{"nothing"}, 125, "the image has no command\nhint:"},
			"no image":         {nil, 125, "run takes a working container or an image"},
			"unknown flag":     {[]string{"--nope", "app"}, 125, "unknown flag: --nope"},
			"manager's flag":   {[]string{"-d", "app"}, 125, "no container manager\nhint: podman run"},
			"manager's name":   {[]string{"--name", "x", "app"}, 125, "no container manager\nhint: podman run"},
			"no such user":     {[]string{"-u", "nobody", "app"}, 125, "no such user in the image's /etc/passwd"},
			"relative workdir": {[]string{"-w", "x", "app"}, 125, "must be an absolute path"},
			"bad network":      {[]string{"--network", "x", "app"}, 125, "must be default, private, none, host"},
			"bad variable":     {[]string{"-e", "=x", "app"}, 125, "--env \"=x\": must be NAME=VALUE"},
			"no variables":     {[]string{"--env-file", "none/none", "app"}, 125, "--env-file: open none/none"},
			"no such volume":   {[]string{"-v", "/no/such:/x", "app"}, 125, "volume /no/such:/x"},
			"two platforms":    {[]string{"--platform", "linux/amd64,linux/arm64", "app"}, 125, "on one platform"},
			"no terminal":      {[]string{"-it", "app"}, 125, "-it: standard input is no terminal"},
		} {
			r := s.cooper(t, append([]string{"run"}, test.args...)...)
			if r.Code != test.code || !strings.Contains(r.Stderr, test.says) {
				t.Errorf("%s: status %d, want %d with %q:\n%s", name, r.Code, test.code, test.says, r.Stderr)
			}
		}
		s.checkNoLeftovers(t)
	})
}

func TestRunHandsOnInput(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		large := strings.Repeat("0123456789abcde\n", 1<<16)
		for name, test := range map[string]struct {
			script, want string
		}{
			"all of it":       {"cat", large},
			"a part of it":    {"head -c 16", large[:16]},
			"none of it":      {"echo x", "x\n"},
			"pipes, no files": {"for fd in 0 1; do readlink /proc/$$/fd/$fd | cut -d: -f1; done", "pipe\npipe\n"},
		} {
			cmd := s.command(suite.cooper, "run", "-i", "base", "sh", "-c", test.script)
			cmd.Stdin = strings.NewReader(large)
			if r := runCommand(t, cmd); r.Code != 0 || r.Stdout != test.want {
				t.Errorf("%s: status %d, %d bytes, want %d\n%s", name, r.Code, len(r.Stdout), len(test.want), r.Stderr)
			}
		}
		// An input without an end keeps nobody waiting.
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = errors.Join(r.Close(), w.Close()) }()
		cmd := s.command(suite.cooper, "run", "-i", "base", "true")
		cmd.Stdin = r
		if got := runCommand(t, cmd); got.Code != 0 {
			t.Errorf("status %d, %s", got.Code, got.Stderr)
		}
	})
}

func TestOutputOfAnImageDoesNothingToATerminal(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		checkHarmless(t, "output", s.onTerminal(t, "run", "base", "echo", hostileText))
	})
}

// A signal is the command's if it handles it, and ends it otherwise.
func TestSignalsEndTheCommandOfARun(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		for name, test := range map[string]struct {
			script string
			signal syscall.Signal
			code   int
		}{
			"handled":     {"trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done", syscall.SIGTERM, 9},
			"not handled": {"echo ready; sleep 1000; :", syscall.SIGINT, 130},
		} {
			cmd := s.command(suite.cooper, "run", "base", "sh", "-c", test.script)
			ready := newWaitFor("ready")
			cmd.Stdout = ready
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ready.wait(t)
			if err := cmd.Process.Signal(test.signal); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // the status tells
			if got := cmd.ProcessState.ExitCode(); got != test.code {
				t.Errorf("%s: status %d, want %d", name, got, test.code)
			}
		}
		s.checkNoLeftovers(t)
	})
}

func TestNothingOfAKilledRunIsLeft(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		mark := fmt.Sprintf("%d.5", 1e9+s.number%1e9)
		for _, inner := range []bool{false, true} {
			cmd := s.command(suite.cooper, "run", "base", "sh", "-c", "echo x >/x; echo ready; sleep "+mark)
			ready := newWaitFor("ready")
			cmd.Stdout = ready
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ready.wait(t)
			victim := cmd.Process.Pid
			if child := childOf(victim); inner && !m.root() {
				victim = child
			}
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // it was killed
			if errs := s.waitForLeftovers([]string{mark}); len(errs) > 0 {
				t.Error(errors.Join(errs...))
			}
		}
		if r := s.cooper(t, "run", "base", "true"); r.Code != 0 {
			t.Errorf("the next one: status %d, %s", r.Code, r.Stderr)
		}
		s.checkNoLeftovers(t, mark)
	})
}

// atTerminal is a command of the site's with a terminal of its own, as a shell would start it.
type atTerminal struct {
	*exec.Cmd
	master *os.File
	before unix.Termios
	shown  screen
}

// screen is what a terminal has been sent.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprintf("no %q in %q", text, s.String()) },
		func() bool { return strings.Contains(s.String(), text) })
}

func (s *site) startAtTerminal(t *testing.T, args ...string) *atTerminal {
	t.Helper()
	master, slave := openTerminal(t)
	c := &atTerminal{Cmd: s.command(suite.cooper, args...), master: master}
	c.before = c.settings(t)
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setsid, c.SysProcAttr.Setctty = true, true
	if err := errors.Join(slave.Chown(s.mode.UID, s.mode.GID), c.resize(24, 80), c.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	go func() { _, _ = io.Copy(&c.shown, master) }() // until the terminal is closed
	return c
}

func (c *atTerminal) settings(t *testing.T) unix.Termios {
	t.Helper()
	now, err := unix.IoctlGetTermios(int(c.master.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *now
}

func (c *atTerminal) resize(rows, cols uint16) error {
	return unix.IoctlSetWinsize(int(c.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
}

func (c *atTerminal) types(t *testing.T, keys string) {
	t.Helper()
	if _, err := c.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end of the command, which must have this status, and looks whether the terminal is as before.
func (c *atTerminal) ends(t *testing.T, code int) {
	t.Helper()
	_ = c.Wait() // the status tells
	if got := c.ProcessState.ExitCode(); got != code {
		t.Errorf("status %d, want %d", got, code)
	}
	eventually(t, func() string { return "the terminal has not got its settings back" }, func() bool {
		return c.settings(t) == c.before
	})
}

func TestRunAtATerminal(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		script := `trap 'echo "size $(stty size)"' WINCH; trap 'echo interrupt' INT; tty; stty size; echo rea''dy
while :; do read x && case $x in end) exit 3;; esac; done`
		c := s.startAtTerminal(t, "run", "-it", "base", "sh", "-c", script)
		c.shown.waitFor(t, "ready")
		if c.settings(t) == c.before {
			t.Error("the terminal is not raw")
		}
		if err := c.resize(33, 44); err != nil {
			t.Fatal(err)
		}
		c.shown.waitFor(t, "size 33 44\r\n")
		c.types(t, "\x03")
		c.shown.waitFor(t, "interrupt\r\n")
		c.types(t, "end\r")
		c.ends(t, 3)
		if text := c.shown.String(); !strings.Contains(text, "/dev/pts/0\r\n24 80\r\n") {
			t.Errorf("the terminal shows %q", text)
		}
		s.checkNoLeftovers(t)
	})
}

// Ctrl-C ends a command that says nothing about SIGINT, though the kernel drops that for process 1.
func TestInterruptEndsACommandAtATerminal(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		c := s.startAtTerminal(t, "run", "-it", "base", "sh", "-c", "echo rea''dy; sleep 1000; :")
		c.shown.waitFor(t, "ready")
		c.types(t, "\x03")
		c.ends(t, 130)
	})
}

func TestTerminalIsRestoredAfterAKill(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		c := s.startAtTerminal(t, "run", "-it", "base", "sh", "-c", "echo rea''dy; sleep 1000; :")
		c.shown.waitFor(t, "ready")
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.ends(t, -1)
		if errs := s.waitForLeftovers(nil); len(errs) > 0 {
			t.Error(errors.Join(errs...))
		}
	})
}

func TestRunInANamespaceOfItsOwn(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		flags := []string{"--userns=keep-id:uid=1000,gid=1000", "--userns=auto:size=2000", "--userns=nomap"}
		if m.root() {
			flags = []string{"--userns=auto:size=2000", "--uidmap=0:500000:65536", "--userns=host"}
		}
		for _, flag := range flags {
			r := s.cooper(t, "run", flag, "-u", "0", "base", "sh", "-c",
				"id -u; echo x >/x; stat -c %u /x /etc; echo y >/dev/stdout")
			if r.Code != 0 || r.Stdout != "0\n0\n0\ny\n" {
				t.Errorf("%s: status %d, %q, %s", flag, r.Code, r.Stdout, r.Stderr)
			}
		}
		s.checkNoLeftovers(t)
	})
}

// TestTheCommandsOfTheTryPageWork runs the lines of docs/try.md, one after the other.
func TestTheCommandsOfTheTryPageWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		page, err := os.ReadFile("../docs/try.md")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nCMD [\"echo\", \"it works\"]\n")
		s.write(t, "src/f", "")
		s.build(t, "-q", "-t", "app", "ctx")
		n := 0
		for line := range strings.Lines(string(page)) {
			if args, ok := strings.CutPrefix(line, "    $ "); ok {
				n++
				s.run(t, "sh", "-c", strings.ReplaceAll(args, "cooper ", suite.cooper+" "))
			}
		}
		if n < 8 {
			t.Errorf("there are %d commands", n)
		}
		s.checkNoLeftovers(t)
	})
}
