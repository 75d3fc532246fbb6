package executor_test

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

func TestFilesHaveTheOwnerAndModeThatTheStepIsTold(t *testing.T) {
	b := newBox(t)
	s := b.sh("stat -c '%a %u:%g %n' /run/secrets/* /etc/private; cat /run/secrets/a; (echo x >/run/secrets/a) 2>/dev/null || echo ro; rm /run/secrets/a 2>/dev/null || echo kept")
	s.Files = []executor.File{
		{Path: "/run/secrets/a", Data: []byte("hush\n"), Mode: 0o400},
		{Path: "/run/secrets/b", Data: []byte("hush\n"), Mode: 0o640, UID: 1000, GID: 1001},
		{Path: "/etc/private", Data: []byte("hush\n"), Mode: 0},
	}
	want := "400 0:0 /run/secrets/a\n640 1000:1001 /run/secrets/b\n0 0:0 /etc/private\nhush\nro\nkept\n"
	for name, set := range map[string]func(*executor.Step){"as the caller": func(*executor.Step) {},
		"mapped": func(s *executor.Step) { s.Mapping = testMapping(t) }} {
		t.Run(name, func(t *testing.T) {
			if name == "mapped" && inside() {
				return
			}
			s := s
			set(&s)
			if got := b.output(s); got != want {
				t.Errorf("%q", got)
			}
			b.checkUpper()
		})
	}
	s.User = "alice"
	s.Args[2] = "cat /run/secrets/b; cat /run/secrets/a 2>/dev/null || echo denied"
	if got := b.output(s); got != "hush\ndenied\n" {
		t.Errorf("as another user: %q", got)
	}
	s.Files = []executor.File{{Path: "/x", UID: 4_000_000_000}}
	if _, _, err := b.run(s); inside() && (err == nil || !strings.Contains(err.Error(), "4000000000")) {
		t.Errorf("an owner that the namespace does not have: %v", err)
	}
}

func TestFilesGoNoFurtherThanTheRoot(t *testing.T) {
	tests := map[string]struct {
		prepare, target string
		fails           string
	}{
		"absolute link":      {"ln -s /etc /run/secrets", "/run/secrets/passwd", ""},
		"link out":           {"ln -s ../../../../../../.. /run/secrets", "/run/secrets/bin/new", ""},
		"link to proc":       {"ln -s /proc/self /run/secrets", "/run/secrets/status", "symbolic link there to /proc"},
		"link to dev":        {"ln -s /dev /run/secrets", "/run/secrets/x", "symbolic link there to /dev"},
		"target in proc":     {"true", "/proc/self/status", "belongs to the executor"},
		"target in sys":      {"true", "/sys/x", "belongs to the executor"},
		"target is dev":      {"true", "/dev", "belongs to the executor"},
		"target is a device": {"true", "/dev/null", "file exists"},
		"target is the root": {"true", "/x/..", "can't be the root"},
		"a directory":        {"mkdir -p /run/secrets/a", "/run/secrets/a", "the image has a directory there"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.dir("layer/run")
			b.output(b.sh(test.prepare))
			s := b.sh("cat " + test.target)
			s.Rootfs.Lower = []*os.File{b.open("upper"), b.open("layer")}
			s.Rootfs.Upper = b.dir("upper2")
			s.Files = []executor.File{{Path: test.target, Data: []byte("hush"), Mode: 0o400}}
			out, _, err := b.run(s)
			switch {
			case test.fails == "" && (err != nil || out != "hush"):
				t.Errorf("%v %q", err, out)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("%v", err)
			}
			if entries, err := os.ReadDir(b.path("upper2")); err != nil || len(entries) > 0 {
				t.Errorf("left in the layer: %v %v", entries, err)
			}
			if data, _ := os.ReadFile("/etc/passwd"); strings.Contains(string(data), "hush") {
				t.Error("written outside")
			}
		})
	}
}

// echo answers each connection with what it gets, in upper case.
func echo(_ context.Context, conn net.Conn) {
	buf := make([]byte, 64)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := io.WriteString(conn, strings.ToUpper(string(buf[:n]))); err != nil {
			return
		}
	}
}

func TestSocketsAnswerTheirOwner(t *testing.T) {
	b := newBox(t)
	b.addSelf()
	s := b.sh("stat -c '%F %a %u:%g' /run/agent.0; /self dial; rm /run/agent.0 || echo kept; mv /bin/sh /run/agent.0 2>/dev/null || echo kept; ln -sf /x /run/agent.0 2>/dev/null || echo kept; /self dial")
	s.Sockets = []executor.Socket{{Path: "/run/agent.0", Mode: 0o600, UID: 1000, GID: 1001, Serve: echo}}
	want := "socket 600 1000:1001\nHELLO\n"
	kept := "rm: can't remove '/run/agent.0': Device or resource busy\nkept\nkept\nkept\nHELLO\n"
	for _, mapped := range []bool{false, true} {
		if mapped && inside() {
			continue
		}
		s := s
		if mapped {
			s.Mapping = testMapping(t)
		}
		if got := b.output(s); got != want+kept {
			t.Errorf("root: %q", got)
		}
		b.checkUpper()
		s.User, s.Network = "alice", "none"
		s.Args = []string{"/self", "dial"}
		if got := b.output(s); got != "HELLO\n" {
			t.Errorf("alice: %q", got)
		}
		s.User = "33"
		if out, status, err := b.run(s); err != nil || status.ExitCode == 0 {
			t.Errorf("somebody else: %q %v", out, err)
		}
	}
}

func TestSocketsEndWithTheStep(t *testing.T) {
	b := newBox(t)
	b.addSelf()
	var served, ended atomic.Int32
	var once sync.Once
	connected := make(chan struct{})
	s := b.step("/self", "hold")
	s.Sockets = []executor.Socket{{Path: "/run/agent.0", Mode: 0o666, Serve: func(ctx context.Context, conn net.Conn) {
		served.Add(1)
		once.Do(func() { close(connected) })
		<-ctx.Done()
		ended.Add(1)
	}}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() { <-connected; cancel() }()
	if _, err := executor.Run(ctx, s); err == nil {
		t.Error("no error")
	}
	if n := served.Load(); n == 0 || n > 32 || n != ended.Load() {
		t.Errorf("%d served at a time, %d ended", n, ended.Load())
	}
	var before unix.Stat_t
	if err := unix.Lstat(b.path("upper/run"), &before); err == nil {
		t.Error("a trace in the layer")
	}
}
