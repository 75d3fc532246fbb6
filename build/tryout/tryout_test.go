package tryout

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/session/sessiontest"
	"github.com/cooperbuild/cooper/executor"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// open makes a session with the image localhost/box:1, which has busybox.
func open(t *testing.T) *sessiontest.Session {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("these tests need a busybox that is linked statically: apt-get install busybox-static")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := sessiontest.Open(t)
	l, res := storetest.Commit(t, s.Store, "", func(dir string) {
		storetest.Write(t, filepath.Join(dir, "busybox"), string(text))
		if err := os.Chmod(filepath.Join(dir, "busybox"), 0o755); err != nil {
			t.Fatal(err)
		}
	})
	l.DiffID = res.DiffID
	s.Put(t, sessiontest.Image{Config: ocispec.ImageConfig{Entrypoint: []string{"/busybox", "sh", "-c"},
		Cmd: []string{"echo the image says"}, Env: []string{"A=1"}}}, []store.Layer{l}, "localhost/box:1")
	return s
}

// ran is what came of a command.
type ran struct {
	status   int
	out, err string
}

// pipe makes a pipe that is closed when the test ends.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// try runs a shell command in the image; started is called once it has written a line.
func try(ctx context.Context, t *testing.T, s *sessiontest.Session, req Request, started func()) (r ran, err error) {
	t.Helper()
	req.Image = "box:1"
	tried, err := Open(ctx, s.Session, req)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, tried.Close()) }()
	outRead, outWrite := pipe(t)
	errRead, errWrite := pipe(t)
	type text struct {
		text string
		err  error
	}
	read := func(from *os.File, began func()) chan text {
		all := make(chan text, 1)
		go func() {
			first := make([]byte, 1)
			n, err := from.Read(first)
			if n > 0 && began != nil {
				began()
			}
			rest, restErr := io.ReadAll(from)
			if errors.Is(err, io.EOF) {
				err = restErr
			}
			all <- text{string(first[:n]) + string(rest), err}
		}()
		return all
	}
	out, errs := read(outRead, started), read(errRead, nil)
	r.status, err = tried.Run(ctx, Streams{Stdout: outWrite, Stderr: errWrite})
	err = errors.Join(err, outWrite.Close(), errWrite.Close())
	r.out, r.err = (<-out).text, (<-errs).text
	return r, err
}

func sh(text string) Request { return Request{Command: Command{Args: []string{text}}} }

func TestACommandIsRunInAnImageAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := open(t)
	readOnly := sh("echo x >/file || echo refused")
	readOnly.ReadOnly = true
	user := sh("/busybox id -u; /busybox pwd; echo $A $B $HOSTNAME")
	user.Command.User, user.Command.Workdir, user.Command.Env, user.Command.Hostname = "7:8", "/made/here",
		[]string{"B=2"}, "box"
	for name, test := range map[string]struct {
		req  Request
		want ran
	}{
		"the image's own":       {Request{}, ran{0, "the image says\n", ""}},
		"a status":              {sh("exit 7"), ran{7, "", ""}},
		"both outputs":          {sh("echo out; echo err >&2"), ran{0, "out\n", "err\n"}},
		"a signal":              {sh("/busybox sh -c 'kill -9 $$'; exit $?"), ran{128 + 9, "", "Killed\n"}},
		"a file":                {sh("echo x >/file; /busybox cat /file"), ran{0, "x\n", ""}},
		"what another has left": {sh("/busybox ls /file 2>/dev/null || echo nothing"), ran{0, "nothing\n", ""}},
		"settings":              {user, ran{0, "7\n/made/here\n1 2 box\n", ""}},
		"no input":              {sh("/busybox cat; echo ended"), ran{0, "ended\n", ""}},
	} {
		got, err := try(t.Context(), t, s, test.req, nil)
		if err != nil || got.status != test.want.status || got.out != test.want.out || name != "a signal" &&
			got.err != test.want.err {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, test.want)
		}
	}
	if got, err := try(t.Context(), t, s, readOnly, nil); err != nil || got.out != "refused\n" ||
		!strings.Contains(got.err, "Read-only") {
		t.Errorf("read only: %+v, %v", got, err)
	}
	if left, err := filepath.Glob(filepath.Join(s.Store.Store.Paths().Own, "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

func TestACommandThatCanNotBeRunHasAStatus(t *testing.T) {
	t.Parallel()
	s := open(t)
	for name, test := range map[string]struct {
		entrypoint []string
		status     int
	}{
		"nothing there": {[]string{"/none"}, 127}, "not in PATH": {[]string{"none"}, 127},
		"below a file": {[]string{"/busybox/x"}, 127},
		"a directory":  {[]string{"/"}, 126},
	} {
		_, err := try(t.Context(), t, s, Request{Command: Command{Entrypoint: test.entrypoint}}, nil)
		if got := StatusOf(err); got != test.status || err == nil {
			t.Errorf("%s: %d, %v", name, got, err)
		}
		if start := new(executor.StartError); !errors.As(err, &start) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestACommandEndsWithItsContextByTheSignalOfTheCause if it handles that, and is killed if it doesn't.
func TestACommandEndsWithItsContextByTheSignalOfTheCause(t *testing.T) {
	t.Parallel()
	s := open(t)
	why := errors.New("the terminal hung up")
	const trap = "trap 'echo got %s; exit 5' %s; echo begun; while :; do /busybox sleep 0.1; done"
	for name, test := range map[string]struct {
		signal func(error) syscall.Signal
		named  string
	}{
		"the usual one": {nil, "TERM"},
		"another": {func(cause error) syscall.Signal {
			if !errors.Is(cause, why) {
				t.Errorf("the cause is %v", cause)
			}
			return unix.SIGHUP
		}, "HUP"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		req := sh(strings.ReplaceAll(trap, "%s", test.named))
		req.Signal = test.signal
		got, err := try(ctx, t, s, req, func() { cancel(why) })
		if !strings.Contains(got.out, "got "+test.named) || got.status != 5 || err != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		cancel(nil)
	}
}

func TestWhatCanNotBeTriedIsTold(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.Put(t, sessiontest.Image{}, nil, "localhost/empty:1")
	other := ocispec.Platform{OS: "linux", Architecture: "s390x"}
	for name, test := range map[string]struct {
		req  Request
		is   error
		want string
	}{
		"no image":         {Request{Image: "localhost/none:1", Pull: bases.PullNever}, nil, "localhost/none:1"},
		"no command":       {Request{Image: "empty:1"}, errNoCommand, "hint: give one after the image's name"},
		"another platform": {Request{Image: "box:1", Platform: &other, Pull: bases.PullNever}, nil, "s390x"},
	} {
		tried, err := Open(t.Context(), s.Session, test.req)
		if err == nil {
			err = tried.Close()
			t.Errorf("%s: it is open; %v", name, err)
			continue
		}
		if test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
