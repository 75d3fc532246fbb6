package copystep

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/stepinput/inputtest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/progress"
)

// room has agents, and roots in a store at root. The caller closes the roots.
func room(t *testing.T, root string, agents map[string]*sshagent.Agent) *Room {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Root: root, RunRoot: t.TempDir(), Driver: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(root, "overlay"), unix.MNT_DETACH)
	})
	c, err := cache.Open(s.Paths().Cache())
	if err != nil {
		t.Fatal(err)
	}
	roots := rootfs.New(rootfs.Options{Store: s, Cache: c, Progress: progress.Discard{},
		Shown: progress.NewAsides(progress.Discard{})})
	return New(Options{Inputs: stepinput.Inputs{Roots: roots}, Agents: agents})
}

// ask lists the keys of the agent at a socket, and gives the first byte of the answer.
func ask(t *testing.T, conn net.Conn) byte {
	t.Helper()
	if _, err := conn.Write([]byte{0, 0, 0, 1, 11}); err != nil {
		t.Fatal(err)
	}
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[:4]))-1); err != nil {
		t.Fatal(err)
	}
	return head[4]
}

func dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestGitFindsItsKeysUntilTheBuildEnds(t *testing.T) {
	t.Parallel()
	for name, root := range map[string]string{
		"a short path": t.TempDir(), "a long path": filepath.Join(t.TempDir(), strings.Repeat("long", 40)),
	} {
		r := room(t, root, map[string]*sshagent.Agent{"default": inputtest.Agent(t), "other": nil})
		socket, err := r.gitAgent()
		if err != nil {
			t.Fatal(name, err)
		}
		if again, err := r.gitAgent(); again != socket || err != nil {
			t.Errorf("%s: the second time it is at %q, %v", name, again, err)
		}
		const identitiesAnswer = 12
		one, two := dial(t, socket), dial(t, socket)
		for range 2 {
			if ask(t, one) != identitiesAnswer || ask(t, two) != identitiesAnswer {
				t.Errorf("%s: there is no list of keys", name)
			}
		}
		if err := r.Inputs.Roots.Close(); err != nil { // with connections that are open
			t.Errorf("%s: %v", name, err)
		}
		if _, err := one.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: afterwards the connection has %v", name, err)
		}
		if conn, err := new(net.Dialer).DialContext(context.Background(), "unix", socket); err == nil {
			_ = conn.Close()
			t.Errorf("%s: afterwards there is still an agent", name)
		}
		left, err := filepath.Glob(filepath.Join(root, "*", "tmp", "*"))
		if len(left) != 0 || err != nil {
			t.Errorf("%s: it leaves %q, %v", name, left, err)
		}
		_, _ = one.Close(), two.Close()
	}
}

func TestGitHasNoAgentUnlessOneIsGivenForIt(t *testing.T) {
	t.Parallel()
	r := room(t, t.TempDir(), map[string]*sshagent.Agent{"other": inputtest.Agent(t)})
	if socket, err := r.gitAgent(); socket != "" || err != nil {
		t.Errorf("it is at %q, %v", socket, err)
	}
	if err := r.Inputs.Roots.Close(); err != nil {
		t.Error(err)
	}
}
