package credentials

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzAuthFile reads files with credentials. There is no program that could be a helper.
func FuzzAuthFile(f *testing.F) {
	for _, text := range []string{`{"auths":{"a.example":{"auth":"YTpi"}}}`, `{"auths":{"a.example":{"auth":"!"}}}`,
		`{"auths":{"a.example":{"identitytoken":"x"}},"credHelpers":{"b.example":"x"},"credsStore":"y"}`, `[]`, ``,
		`{"auths":{"a.example/team":{"auth":"YQ=="}}}`} {
		f.Add([]byte(text))
	}
	home := f.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "PATH"} {
		f.Setenv(name, home)
	}
	for _, name := range []string{"REGISTRY_AUTH_FILE", "DOCKER_CONFIG"} {
		f.Setenv(name, "")
	}
	f.Setenv("CONTAINERS_REGISTRIES_CONF", os.DevNull)
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "auth.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		Check(path)
		for _, repository := range []string{"a.example/team/app", "b.example/app"} {
			if _, err := lookUp(path, repository); err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%s: the error doesn't name the file: %v", repository, err)
			}
		}
	})
}
