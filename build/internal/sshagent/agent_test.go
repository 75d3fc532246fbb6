package sshagent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/sshagent"
)

// openssh runs a program of OpenSSH, which is what the agent must get along with.
func openssh(t *testing.T, socket, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v\nhint: sh contrib/setup.sh --tests", err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func newKey(t *testing.T, dir string, args ...string) string {
	t.Helper()
	path := filepath.Join(dir, strings.Join(args, "_"))
	args = append(args, "-q", "-f", path, "-C", "test key")
	if len(args) < 7 {
		args = append(args, "-N", "")
	}
	if out, err := openssh(t, "", "ssh-keygen", args...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// listen serves an agent on a socket.
func listen(t *testing.T, a *sshagent.Agent) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(); os.RemoveAll(dir) })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { a.Serve(t.Context(), conn); _ = conn.Close() }()
		}
	}()
	return path
}

func open(t *testing.T, paths ...string) *sshagent.Agent {
	t.Helper()
	a, err := sshagent.Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// checkSigns has ssh-keygen sign with the key through the agent, which must not have its file, and verify it.
func checkSigns(t *testing.T, socket, public string) {
	t.Helper()
	dir := t.TempDir()
	data, pub := filepath.Join(dir, "data"), filepath.Join(dir, "key.pub")
	text, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(dir, "allowed")
	if err := errors.Join(os.WriteFile(data, []byte("data"), 0o600), os.WriteFile(pub, text, 0o600),
		os.WriteFile(allowed, append([]byte("me "), text...), 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := openssh(t, socket, "ssh-keygen", "-Y", "sign", "-n", "test", "-f", pub, data); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check := exec.CommandContext(t.Context(), "ssh-keygen", "-Y", "verify", "-n", "test", "-I", "me", "-f", allowed, "-s",
		data+".sig")
	check.Stdin = strings.NewReader("data")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestKeyFilesSign(t *testing.T) {
	dir := t.TempDir()
	var keys []string
	for _, args := range [][]string{
		{"-t", "ed25519"}, {"-t", "rsa", "-b", "2048"}, {"-t", "rsa", "-b", "2048", "-m", "PEM"},
		{"-t", "ecdsa", "-b", "256"},
		{"-t", "ecdsa", "-b", "384"}, {"-t", "ecdsa", "-b", "521", "-m", "PKCS8"}, {"-t", "ecdsa", "-b", "521"},
		{"-t", "ecdsa", "-b", "256", "-m", "PEM"},
	} {
		args = append(args, "-N", "")
		keys = append(keys, newKey(t, dir, args...))
	}
	socket := listen(t, open(t, keys...))
	out, err := openssh(t, socket, "ssh-add", "-l")
	if err != nil || strings.Count(out, "\n") != len(keys) || !strings.Contains(out, "test key (ED25519)") {
		t.Errorf("%v:\n%s", err, out)
	}
	for _, k := range keys {
		checkSigns(t, socket, k+".pub")
	}
}

func TestBadKeyFilesSayWhy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile(newKey(t, dir, "-t", "ed25519", "-N", ""))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	cut := func(n int) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes[:n]}))
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ path, want string }{
		"missing":    {filepath.Join(dir, "nope"), "no such file"},
		"directory":  {dir, "directory"},
		"text":       {write("text", "hello"), "neither a socket nor a private key"},
		"public":     {write("public", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"}))), "no private key"},
		"passphrase": {newKey(t, dir, "-t", "ed25519", "-N", "secret"), "passphrase"},
		"old encrypted": {write("old",
			string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY",
				Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}}))), "passphrase"},
		"large":  {write("large", strings.Repeat("x", 200<<10)), "too large"},
		"broken": {write("broken", cut(len(block.Bytes)/2)), "malformed"},
		"empty":  {write("empty", cut(0)), "malformed"},
		"broken PKCS1": {write("pkcs1",
			string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)[:100]}))),
			"asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := sshagent.Open([]string{test.path}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
	for n := range block.Bytes {
		if _, err := sshagent.Open([]string{write("cut", cut(n))}); err == nil && n < len(block.Bytes)-16 {
			t.Errorf("the first %d bytes are taken for a key", n)
		}
	}
	if _, err := sshagent.Open(nil); err == nil {
		t.Error("no path is taken")
	}
	socket := listen(t, open(t, write("good", string(good))))
	if _, err := sshagent.Open([]string{socket, write("good", string(good))}); err == nil ||
		!strings.Contains(err.Error(), "together") {
		t.Errorf("socket and key: %v", err)
	}
}

// startAgent starts OpenSSH's own agent with one key in it.
func startAgent(t *testing.T) (socket, key string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	cmd := exec.CommandContext(t.Context(), "ssh-agent", "-D", "-a", socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v\nhint: sh contrib/setup.sh --tests", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); os.RemoveAll(dir) })
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says where it listens once it does
		t.Fatal(err)
	}
	key = newKey(t, t.TempDir(), "-t", "ed25519", "-N", "")
	if out, err := openssh(t, socket, "ssh-add", key); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return socket, key
}

func TestTheUsersAgentIsOnlyAskedToListAndSign(t *testing.T) {
	agent, key := startAgent(t)
	socket := listen(t, open(t, agent))
	if out, err := openssh(t, socket, "ssh-add", "-l"); err != nil || !strings.Contains(out, "ED25519") {
		t.Errorf("%v: %s", err, out)
	}
	checkSigns(t, socket, key+".pub")
	other := newKey(t, t.TempDir(), "-t", "ed25519", "-N", "")
	for _, args := range [][]string{{other}, {"-D"}, {"-d", key}, {"-t", "1", other}, {"-c", other},
		{"-s", "/usr/lib/pkcs11.so"}} {
		if out, err := openssh(t, socket, "ssh-add", args...); err == nil {
			t.Errorf("ssh-add %s: %s", args, out)
		}
	}
	for number := range 256 {
		if number == 11 || number == 13 {
			continue
		}
		if got := ask(t, socket, []byte{byte(number), 0, 0, 0, 0}); !bytes.Equal(got, []byte{5}) {
			t.Errorf("message %d: %v", number, got)
		}
	}
	out, err := openssh(t, agent, "ssh-add", "-l")
	if err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("the agent has changed: %v: %s", err, out)
	}
}

// ask sends one message and reads the answer.
func ask(t *testing.T, socket string, message []byte) []byte {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestBadMessagesEndInAFailureOrHangUp(t *testing.T) {
	a := open(t, newKey(t, t.TempDir(), "-t", "ed25519", "-N", ""))
	socket := listen(t, a)
	for name, message := range map[string][]byte{
		"sign nothing": {13}, "sign with half a key": {13, 0, 0, 0, 9, 1}, "sign with a huge key": {13, 0xff, 0xff, 0xff,
			0xff},
		"sign with another key": {13, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0},
	} {
		if got := ask(t, socket, message); !bytes.Equal(got, []byte{5}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, raw := range [][]byte{{0, 0, 0, 0}, {0, 4, 0, 1}, {0xff, 0xff, 0xff, 0xff}} { // empty, too long, huge
		mine, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); a.Serve(t.Context(), theirs) }()
		if _, err := mine.Write(raw); err != nil {
			t.Fatal(err)
		}
		<-done
		_ = mine.Close()
		_ = theirs.Close()
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	asked := make(chan struct{})
	go func() {
		conn, err := silent.Accept()
		if err == nil {
			_, _ = conn.Read(make([]byte, 5))
			close(asked)
			<-t.Context().Done()
			_ = conn.Close()
		}
	}()
	a := open(t, silent.Addr().String())
	mine, theirs := net.Pipe()
	defer func() { _ = mine.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Serve(ctx, theirs) }()
	if _, err := mine.Write([]byte{0, 0, 0, 1, 11}); err != nil {
		t.Fatal(err)
	}
	<-asked
	cancel()
	<-done
}
