package sshagent_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/sshagent"
)

// answers is a user's agent that gives each connection in turn these bytes for its first request, and then hangs up.
func answers(t *testing.T, each ...[]byte) *sshagent.Agent {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for _, text := range each {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := io.ReadFull(conn, make([]byte, 5)); err == nil {
				_, _ = conn.Write(text)
			}
			_ = conn.Close()
		}
	}()
	return open(t, l.Addr().String())
}

// request asks for the keys over a connection, and gives the answer.
func request(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	if _, err := conn.Write([]byte{0, 0, 0, 1, 11}); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// serve has an agent serve a connection, of which it gives the other end.
func serve(t *testing.T, a *sshagent.Agent) net.Conn {
	t.Helper()
	mine, theirs := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() { a.Serve(t.Context(), theirs) })
	t.Cleanup(func() { _ = mine.Close(); serving.Wait() })
	return mine
}

func TestAfterAFailureTheUsersAgentIsCalledAgain(t *testing.T) {
	t.Parallel()
	none := []byte{0, 0, 0, 5, 12, 0, 0, 0, 0}
	long := append([]byte{0, 0x10, 0, 0}, none...) // what follows a message that is too long is no answer
	short, other := []byte{0, 0, 0, 9, 12}, []byte{0, 0, 0, 1, 6}
	conn := serve(t, answers(t, nil, long, short, none, other, none))
	// After each good answer, and one that means nothing, the agent has hung up, which the next request finds out.
	for n, want := range [][]byte{{5}, {5}, {5}, none[4:], {5}, {5}, {5}, none[4:]} {
		if got := request(t, conn); !bytes.Equal(got, want) {
			t.Errorf("request %d: %v, not %v", n, got, want)
		}
	}
}

func TestAnAgentThatIsGoneIsAFailureForTheStepAlone(t *testing.T) {
	t.Parallel()
	a := answers(t)
	conn := serve(t, a)
	socket := filepath.Join(t.TempDir(), "gone")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	gone := open(t, socket)
	_ = l.Close()
	other := serve(t, gone)
	for range 2 {
		if got := request(t, other); !bytes.Equal(got, []byte{5}) {
			t.Errorf("got %v", got)
		}
	}
	_ = conn.Close()
}

func TestAllAgentsAreOpenedOrTheErrorsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, missing := newKey(t, dir, "-t", "ed25519", "-N", ""), filepath.Join(dir, "missing")
	agents, err := sshagent.OpenAll(map[string][]string{"default": {key}, "other": {key}})
	if err != nil || agents["default"] == nil || agents["other"] == nil || len(agents) != 2 {
		t.Errorf("%v, %v", agents, err)
	}
	if agents, err := sshagent.OpenAll(nil); err != nil || len(agents) != 0 {
		t.Errorf("of none: %v, %v", agents, err)
	}
	given := map[string][]string{}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		given[id] = []string{missing}
	}
	_, err = sshagent.OpenAll(given)
	if err == nil {
		t.Fatal("files that aren't there are opened")
	}
	var order []string
	for line := range strings.Lines(err.Error()) {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "--ssh "), ":")
		order = append(order, id)
	}
	if strings.Join(order, "") != "abcde" {
		t.Errorf("they are named in the order %q", order)
	}
}

func TestAFileThatIsNoPrivateKeySaysWhatItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, want string }{
		"a certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			`a PEM block of type "CERTIFICATE" is no private key`},
		"PKCS8 in cipher": {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
			"passphrase"},
		"nothing": {"", "neither a socket nor a private key in PEM form"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sshagent.Open([]string{path}); err == nil || !strings.Contains(err.Error(), tt.want) ||
			!strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyMayAskAnAgentAtOnce(t *testing.T) {
	t.Parallel()
	a := open(t, newKey(t, t.TempDir(), "-t", "ed25519", "-N", ""))
	socket := listen(t, a)
	want := ask(t, socket, []byte{11})
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			for range 20 {
				if _, err := conn.Write([]byte{0, 0, 0, 1, 11}); err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, 4+len(want))
				if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got[4:], want) {
					t.Errorf("%v, %v", got, err)
					return
				}
			}
		})
	}
	asking.Wait()
}

func TestKeysThatSSHDoesNotKnowAreNamed(t *testing.T) {
	t.Parallel()
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, private := range map[string]any{
		"the curve P-224 is not one of SSH": odd, "a key of type *ecdh.PrivateKey is not supported: use": exchange,
	} {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "key")
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sshagent.Open([]string{path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
