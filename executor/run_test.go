package executor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
)

func TestOutputAndExitStatus(t *testing.T) {
	b := newBox(t)
	tests := map[string]struct {
		script string
		out    string
		code   int
		signal syscall.Signal
	}{
		"success":        {"echo out; echo err >&2", "out\nerr\n", 0, 0},
		"failure":        {"exit 3", "", 3, 0},
		"255":            {"exit 255", "", 255, 0},
		"child signal":   {"sh -c 'kill -9 $$'; exit $?", "Killed\n", 137, 0},
		"ignored signal": {"kill -USR1 $$; echo still here", "still here\n", 0, 0},
		"own group TERM": {"trap 'exit 9' TERM; kill -TERM $$", "", 9, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, status, err := b.run(b.sh(test.script))
			if err != nil || status.ExitCode != test.code || status.Signal != test.signal || out != test.out &&
				!reordered(out, test.out) {
				t.Errorf("%q %+v %v", out, status, err)
			}
		})
	}
	b.checkUpper()
}

// reordered says that two lines have changed places: runc copies the two streams each by itself.
func reordered(got, want string) bool {
	first, second, _ := strings.Cut(want, "\n")
	r := backEnd()
	return r != nil && r.Name == "runc" && got == second+first+"\n"
}

func TestStatusSaysWhatTheStepUsed(t *testing.T) {
	b := newBox(t)
	_, status, err := b.run(b.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
	if err != nil || status.Duration <= 0 || status.User+status.System <= 0 || status.Usage.Memory < 1<<20 {
		t.Errorf("%+v %v", status, err)
	}
}

func TestStartedIsToldTheFirstProcessOfTheStep(t *testing.T) {
	b := newBox(t)
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"", "33:33"} {
		s := b.sh("while :; do sleep 1; done")
		s.User = user
		pid, ns := 0, ""
		var looked error
		s.Started = func(p int) {
			pid = p
			ns, looked = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p))
			looked = errors.Join(looked, syscall.Kill(p, syscall.SIGKILL))
		}
		if _, status, err := b.run(s); err != nil || status.Signal != syscall.SIGKILL || looked != nil || pid <= 0 ||
			ns == own {
			t.Errorf("user %q: process %d in %q: %v %v", user, pid, ns, err, looked)
		}
	}
}

func TestOutputGoesWhereItShould(t *testing.T) {
	b := newBox(t)
	t.Run("two writers", func(t *testing.T) {
		var out, err bytes.Buffer
		s := b.step("/bin/sh", "-c", "echo out; echo err >&2")
		s.Stdout, s.Stderr = &out, &err
		if _, runErr := executor.Run(context.Background(), s); runErr != nil {
			t.Fatal(runErr)
		}
		if out.String() != "out\n" || err.String() != "err\n" {
			t.Errorf("%q %q", out.String(), err.String())
		}
	})
	t.Run("file", func(t *testing.T) {
		f, err := os.Create(b.path("out"))
		b.must(err)
		defer f.Close()
		s := b.step("/bin/sh", "-c", "echo out; readlink /proc/self/fd/1 >&2")
		s.Stdout = f
		if _, err := executor.Run(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		if data, _ := os.ReadFile(b.path("out")); string(data) != "out\n" {
			t.Errorf("%q", data)
		}
	})
	t.Run("nowhere", func(t *testing.T) {
		if status, err := executor.Run(context.Background(), b.step("/bin/sh", "-c", "echo out; echo err >&2")); err != nil ||
			status.ExitCode != 0 {
			t.Errorf("%+v %v", status, err)
		}
	})
	t.Run("much", func(t *testing.T) {
		out := b.output(b.sh("dd if=/dev/zero bs=65536 count=512 2>/dev/null"))
		if len(out) != 32<<20 {
			t.Errorf("%d bytes", len(out))
		}
	})
	t.Run("failing writer", func(t *testing.T) {
		s := b.sh("dd if=/dev/zero bs=65536 count=64 2>/dev/null")
		s.Stdout = failingWriter{}
		if _, err := executor.Run(context.Background(), s); !errors.Is(err, errWriter) {
			t.Errorf("%v", err)
		}
	})
	t.Run("pipe of another user", func(t *testing.T) {
		s := b.sh("echo by name > /dev/stdout")
		s.User = "alice"
		if out := b.output(s); out != "by name\n" {
			t.Errorf("%q", out)
		}
	})
}

var errWriter = errors.New("no more")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errWriter }

func TestEnvironmentIsTheStepsOwn(t *testing.T) {
	b := newBox(t)
	t.Setenv("SECRET_OF_THE_HOST", "x")
	s := b.step("/bin/env")
	s.Env = []string{"A=1", "B=with space", "A=2", "nonsense"}
	want := "B=with space\nA=2\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\n"
	if got := b.output(s); got != want {
		t.Errorf("%q", got)
	}
	s.Env = []string{"HOME=/h", "PATH=/bin"}
	if got := b.output(s); got != "HOME=/h\nPATH=/bin\n" {
		t.Errorf("%q", got)
	}
}

func TestProgramIsFoundInPath(t *testing.T) {
	b := newBox(t)
	b.write("layer/opt/true", "not executable")
	s := b.step("true")
	s.Env = []string{"PATH=/nowhere:/etc/passwd:/opt:/bin"}
	b.output(s)
	s.Args, s.Cwd, s.Env = []string{"busybox", "true"}, "/bin", []string{"PATH=:/usr/bin"}
	if s.Runtime == nil {
		b.output(s)
	} else if _, _, err := b.run(s); err == nil || !strings.Contains(err.Error(), "relative directory of PATH") {
		t.Errorf("%v", err)
	}
}

func TestUnstartableProgramIsAStartError(t *testing.T) {
	b := newBox(t)
	b.write("layer/bin/noexec", "x")
	b.write("layer/bin/garbage", "no program")
	b.write("layer/bin/script", "#!/usr/bin/python3\n")
	b.must(os.Chmod(b.path("layer/bin/garbage"), 0o755))
	b.must(os.Chmod(b.path("layer/bin/script"), 0o755))
	tests := map[string]struct{ program, want string }{
		"missing shell":   {"/usr/bin/bash", "no such file in the image (base has no shell? use the exec form"},
		"missing program": {"/bin/nope", "no such file in the image"},
		"not in PATH":     {"nope", "not found in the image's PATH"},
		"not executable":  {"/bin/noexec", "/bin/noexec may not be executed by user 0"},
		"in PATH, too":    {"noexec", "/bin/noexec may not be executed by user 0"},
		"directory":       {"/bin", "may not be executed"},
		"no format":       {"/bin/garbage", "no program for this machine"},
		"no interpreter":  {"/bin/script", "/bin/script is in the image, but not the interpreter"},
		"and in PATH":     {"script", "/bin/script is in the image, but not the interpreter"},
		"below a file":    {"/etc/passwd/x", "no such file in the image"},
		"link of /proc":   {"/proc/self/fd/9/bin/sh", "no such file in the image"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := b.run(b.step(test.program))
			var start *executor.StartError
			if !errors.As(err, &start) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		_, _, err := b.run(b.step("/bin/true", strings.Repeat("x", 1<<20)))
		if !errors.Is(err, unix.E2BIG) {
			t.Errorf("%v", err)
		}
	})
	t.Run("NUL", func(t *testing.T) {
		if _, _, err := b.run(b.step("/bin/true", "a\x00b")); err == nil {
			t.Error("no error")
		}
	})
	t.Run("empty", func(t *testing.T) {
		if _, _, err := b.run(b.step()); !errors.Is(err, executor.ErrNoArgs) {
			t.Errorf("%v", err)
		}
	})
	b.checkUpper()
}

func TestWorkingDirectory(t *testing.T) {
	b := newBox(t)
	b.dir("layer/a/b")
	b.must(os.Chmod(b.path("layer/a"), 0o700))
	b.must(os.Symlink("/a/b", b.path("layer/link")))
	b.must(os.Symlink("../../../../../../../..", b.path("layer/a/up")))
	for cwd, want := range map[string]string{"": "/", "/": "/", "/a/b": "/a/b", "/link": "/a/b", "/a/up": "/"} {
		s := b.step("/bin/pwd", "-P")
		s.Cwd = cwd
		if got := b.output(s); got != want+"\n" {
			t.Errorf("%s: %q", cwd, got)
		}
	}
	for _, cwd := range []string{"/nope", "/etc/passwd", "/proc/self/fd/3", "/proc/self/fd/7/..", "/proc/self/cwd",
		"/proc/1/root", "relative"} {
		s := b.step("/bin/pwd")
		s.Cwd = cwd
		if out, status, err := b.run(s); err == nil {
			t.Errorf("%s: %q %+v", cwd, out, status)
		}
	}
	s := b.step("/bin/pwd") // a directory that only root may enter
	s.Cwd, s.User = "/a/b", "alice"
	if _, status, err := b.run(s); err != nil {
		t.Errorf("%+v %v", status, err)
	}
}

func TestUserOfTheStep(t *testing.T) {
	b := newBox(t)
	tests := map[string]string{
		"":            "0:0 0 /root",
		"root":        "0:0 0 /root",
		"root:0":      "0:0 0 /root",
		"alice":       "1000:1001 50 999 1001 /home/alice",
		"1000":        "1000:1001 50 999 1001 /home/alice",
		"alice:staff": "1000:50 50 /home/alice",
		"alice:7":     "1000:7 7 /home/alice",
		"4242":        "4242:0 0 /",
		"4242:4343":   "4242:4343 4343 /",
		":staff":      "0:50 50 /root",
		"65534:65534": "65534:65534 65534 /",
	}
	for user, want := range tests {
		s := b.sh("echo $(id -u):$(id -g) $(grep ^Groups: /proc/self/status | cut -d: -f2) $HOME")
		s.User = user
		if got := strings.TrimSpace(b.output(s)); got != want {
			t.Errorf("%q: %s, want %s", user, got, want)
		}
	}
	for user, want := range map[string]error{"bob": executor.ErrUnknownUser, "root:bob": executor.ErrUnknownGroup,
		"-1":         executor.ErrUnknownUser,
		"4294967295": executor.ErrUnknownUser} {
		s := b.step("/bin/true")
		s.User = user
		if _, _, err := b.run(s); !errors.Is(err, want) {
			t.Errorf("%q: %v", user, err)
		}
	}
}

func TestUnmappedUserIsAnError(t *testing.T) {
	b := newBox(t)
	s := b.step("/bin/true")
	s.User = "70000"
	_, _, err := b.run(s)
	var unmapped *userns.UnmappedError
	// Without a user namespace all IDs are mapped.
	if inside() != errors.As(err, &unmapped) || inside() && unmapped.ID != 70000 || !inside() && err != nil {
		t.Errorf("%v", err)
	}
}

func TestStartOfTheStepIsClean(t *testing.T) {
	b := newBox(t)
	signal.Ignore(unix.SIGPIPE, unix.SIGUSR1, unix.SIGINT)
	defer signal.Reset()
	out := b.output(b.sh(
		`umask; cat; ls /proc/self/fd | wc -l; cut -d' ' -f5-7 /proc/self/stat; tty; grep -E '^Sig(Blk|Ign)' /proc/self/status; echo $$`))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	// ls itself has the directory open; process group and session are the step's own, there is no terminal.
	want := []string{"0022", "4", "1 1 0", "not a tty", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "1"}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", lines)
	}
}

func TestBackgroundProcessEndsWithTheStep(t *testing.T) {
	b := newBox(t)
	out := b.output(b.sh("sleep 1000 & (setsid sh -c 'sleep 1000; echo late' &) ; echo done"))
	if out != "done\n" {
		t.Errorf("%q", out)
	}
}

func TestCancelEndsTheStep(t *testing.T) {
	b := newBox(t)
	cause := errors.New("enough")
	tests := map[string]struct {
		script string
		out    string
	}{
		"shell without handler": {"echo ready; sleep 1000; true", "ready\n"},
		"handler":               {"trap 'echo bye; exit 0' TERM; echo ready; sleep 1000 & wait", "ready\nbye\n"},
		"deaf":                  {"trap '' TERM; echo ready; while :; do sleep 1000; done", "ready\n"},
		"child that waits":      {"echo ready; sh -c 'trap \"\" TERM; sleep 1000'", "ready\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			out := &readyWriter{ready: func() { cancel(cause) }}
			s := b.sh(test.script)
			s.Stdout = out
			_, err := executor.Run(ctx, s)
			if !errors.Is(err, cause) {
				t.Errorf("%v", err)
			}
			if got := out.String(); !strings.HasPrefix(got, test.out) {
				t.Errorf("output %q", got)
			}
		})
	}
	t.Run("before the start", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		if _, err := executor.Run(ctx, b.step("/bin/true")); !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
	})
}

// readyWriter calls ready at the first output.
type readyWriter struct {
	text  bytes.Buffer
	ready func()
}

func (w *readyWriter) String() string { return w.text.String() }

func (w *readyWriter) Write(p []byte) (int, error) {
	if w.ready != nil {
		w.ready()
		w.ready = nil
	}
	return w.text.Write(p)
}
