// Package inputtest gives tests of steps what they all need: the inputs of a build in a store that is the test's own,
// the files of a root, and an SSH agent.
package inputtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
)

// Open gives the inputs of a build in a new store, and the directory of its main context, which has the files (texts by
// name) and a Dockerfile. At the end of the test all of it is closed.
func Open(t *testing.T, files map[string]string, identity rootfs.Identity) (in stepinput.Inputs, dir string) {
	t.Helper()
	dir = t.TempDir()
	Write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\n")
	for name, text := range files {
		Write(t, filepath.Join(dir, name), text)
	}

	root := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Root: root, Driver: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.Open(s.Paths().Cache())
	if err != nil {
		t.Fatal(err)
	}

	shown := progress.NewAsides(progress.Discard{})
	noSecret := func(string) ([]byte, bool) { return nil, false }
	in.Contexts = inputs.New(inputs.Options{Context: dir, Secret: noSecret, Progress: progress.Discard{}, Shown: shown}, s)
	if _, err := in.Contexts.ReadMain(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.Roots = rootfs.New(rootfs.Options{
		Store: s, Cache: c, Progress: progress.Discard{}, Shown: shown, Identity: identity,
		Fail: func(_ *plan.Step, err error) error { return err },
	})
	in.Stats = source.OpenStatCache(s.Paths().Stats())

	t.Cleanup(func() {
		_ = in.Roots.Wait() // a test that wants no commit to fail calls it
		for _, f := range []func() error{in.Roots.Close, in.Contexts.Close, s.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		_ = unix.Unmount(filepath.Join(root, "overlay"), unix.MNT_DETACH)
	})
	return in, dir
}

// Write writes a file that only its owner may read.
func Write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Read gives the text of a file of a root. It doesn't wait for the root's commit.
func Read(t *testing.T, roots *rootfs.Roots, r *rootfs.Root, name string) string {
	t.Helper()
	view, err := roots.View(t.Context(), r, rootfs.NS{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := view.Release(); err != nil {
			t.Error(err)
		}
	}()
	text, err := os.ReadFile(filepath.Join("/proc/self/fd", strconv.Itoa(int(view.Dir.Fd())), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Agent gives an SSH agent that has one key.
func Agent(t *testing.T) *sshagent.Agent {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	Write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	agent, err := sshagent.Open([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	return agent
}
