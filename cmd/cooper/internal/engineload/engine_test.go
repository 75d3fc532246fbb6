package engineload

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestWithoutAnEngineThereIsNoConnection(t *testing.T) {
	t.Setenv(EnvHost, "")
	if conn, note, err := Open(t.Context(), command.Env{}); conn != nil || note != "" || err != nil {
		t.Errorf("nobody has named one: %v, %q, %v", conn, note, err)
	}
	t.Setenv(EnvHost, "unix://"+filepath.Join(t.TempDir(), "none"))
	if conn, note, err := Open(t.Context(), command.Env{}); conn != nil || !strings.Contains(note, "no engine") ||
		err != nil {
		t.Errorf("none listens: %v, %q, %v", conn, note, err)
	}
	given, err := HandOver(command.Env{}, nil)
	if err != nil || os.Getuid() != 0 && (len(given) != 1 || given[0] != envEngine+"=") {
		t.Errorf("it hands over %q, %v", given, err)
	}
	t.Setenv(envEngine, "")
	if conn, note, err := Open(t.Context(), command.Env{Inside: true}); conn != nil || note == "" || err != nil {
		t.Errorf("inside: %v, %q, %v", conn, note, err)
	}
	if err := Load(t.Context(), nil, nil, nil, nil); err != nil {
		t.Errorf("what goes to no engine: %v", err)
	}
}

func TestTheConnectionIsFoundInsideByItsNumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	t.Setenv(EnvHost, "unix://"+path)
	outside, _, err := Open(t.Context(), command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outside.Close() }()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	f, err := outside.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fd, err := unix.Dup(int(f.Fd())) // the process inside closes the number that it was given
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envEngine, strconv.Itoa(fd))
	inside, note, err := Open(t.Context(), command.Env{Inside: true})
	if err != nil || note != "" {
		t.Fatal(note, err)
	}
	if _, ok := os.LookupEnv(envEngine); ok {
		t.Error("the variable is left to what is started")
	}
	if _, err := io.WriteString(inside, "x"); err != nil {
		t.Fatal(err)
	}
	_ = inside.Close()
	got := make([]byte, 1)
	if _, err := io.ReadFull(server, got); err != nil || got[0] != 'x' {
		t.Errorf("it leads elsewhere: %q, %v", got, err)
	}
	t.Setenv(envEngine, "many")
	if _, _, err := Open(t.Context(), command.Env{Inside: true}); err == nil {
		t.Error("a number that is none is taken")
	}
}
