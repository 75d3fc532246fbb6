// Package registrytest gives tests a registry in memory, a user whose files say what the test wants of registries, and
// a look at errors.
package registrytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Write writes a file, and makes the directories above it.
func Write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Home makes a home directory with nothing in it, and keeps the machine's own configuration away.
func Home(t *testing.T, conf string) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"HOME": dir, "XDG_CONFIG_HOME": filepath.Join(dir, ".config"), "XDG_RUNTIME_DIR": filepath.Join(dir, "run"),
		"XDG_CACHE_HOME": filepath.Join(dir, ".cache"),
		"DOCKER_CONFIG":  "", "REGISTRY_AUTH_FILE": "", "CONTAINERS_REGISTRIES_CONF_OVERRIDE": "",
		"CONTAINERS_REGISTRIES_CONF": filepath.Join(dir, "registries.conf"), "CONTAINERS_POLICY_JSON": filepath.Join(dir,
			"policy.json"),
	} {
		t.Setenv(name, value)
	}
	Write(t, filepath.Join(dir, "registries.conf"), conf)
	Write(t, filepath.Join(dir, "policy.json"), `{"default":[{"type":"insecureAcceptAnything"}]}`)
	Write(t, filepath.Join(dir, "run", "x"), "")
	return dir
}

// Ref reads the name of an image, which gets the tag latest if it has none.
func Ref(t *testing.T, name string) reference.Reference {
	t.Helper()
	r, err := reference.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return r.WithLatest()
}

// Wants checks that an error is there and has texts in it, or isn't there if there are none.
func Wants(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil && len(texts) > 0 {
		t.Errorf("no error, want one with %q", texts)
		return
	}
	if err != nil && len(texts) == 0 {
		t.Error(err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in the error: %v", text, err)
		}
	}
}
