package shared_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// newKey makes a key; the second result is the public one.
func newKey(t *testing.T) (private, public *sharedcache.Key) {
	t.Helper()
	open, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func(kind string, text []byte, err error) *sharedcache.Key {
		path := filepath.Join(t.TempDir(), "key")
		if err == nil {
			err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: text}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		key, err := sharedcache.ReadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	text, err := x509.MarshalPKCS8PrivateKey(secret)
	private = read("PRIVATE KEY", text, err)
	text, err = x509.MarshalPKIXPublicKey(open)
	return private, read("PUBLIC KEY", text, err)
}

func TestOnlyWhatTheKeyHasSignedIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private, public := newKey(t)
	other, _ := newKey(t)
	machine := func(key *sharedcache.Key) *light {
		m := newLight(t, places{from: []string{"type=local,src=" + dir}, to: []string{"type=local,dest=" + dir}}, 0)
		m.room.Close()
		o := m.room.Options
		o.Key = key
		m.open(t, o)
		return m
	}
	if err := machine(private).does(t, "one"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []*sharedcache.Key{private, public, nil} {
		if m := machine(key); !m.finds(t, "one") {
			t.Errorf("it is not found: %s", m.notes.Text())
		}
	}
	m := machine(other)
	if m.finds(t, "one") {
		t.Error("what another key has signed is taken")
	}
	m.says(t, "is not signed by the key of --cache-key: steps are not looked up there")
	registrytest.Wants(t, machine(public).does(t, "two"), "--cache-key names a public key")

	// Whoever has no key adds to it, and what is there counts no more for those who have one, nor is it signed by them.
	if err := machine(nil).does(t, "poison"); err != nil {
		t.Fatal(err)
	}
	if machine(private).finds(t, "one") {
		t.Error("what nobody has signed is taken")
	}
	if err := machine(private).does(t, "three"); err != nil {
		t.Fatal(err)
	}
	if m := machine(public); m.finds(t, "poison") || !m.finds(t, "three") {
		t.Error("records of others were signed, or the own are lost")
	}
}

func TestAFileThatIsNoKeyIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	registrytest.Write(t, filepath.Join(dir, "key"), "no key")
	for _, path := range []string{filepath.Join(dir, "key"), dir, filepath.Join(dir, "none")} {
		_, err := sharedcache.ReadKey(path)
		registrytest.Wants(t, err, "--cache-key "+path)
	}
}
