package conf_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// FuzzShortNames reads registries.conf and has names mean what it says.
func FuzzShortNames(f *testing.F) {
	f.Add([]byte("unqualified-search-registries = [\"quay.io\", \"a.example/\"]\nshort-name-mode = \"enforcing\"\n"),
		"app:1")
	f.Add([]byte("[aliases]\n\"team/app\" = \"quay.io/team/app\"\n\"b\" = \"\"\n"), "team/app@sha256:x")
	f.Add([]byte("[[registry]]\nlocation = \"a\"\n"), "localhost/x")
	home := f.TempDir()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		f.Setenv(name, home)
	}
	path := filepath.Join(home, "registries.conf")
	f.Setenv("CONTAINERS_REGISTRIES_CONF", path)
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		names, err := conf.LoadShortNames()
		if err != nil {
			return
		}
		for _, candidates := range []func(string) ([]reference.Reference, error){names.PullCandidates,
			names.LocalCandidates} {
			all, err := candidates(name)
			if err == nil && len(all) == 0 {
				t.Errorf("%q means nothing", name)
			}
			for _, ref := range all {
				if again, err := reference.Parse(ref.String()); err != nil || again != ref {
					t.Errorf("%q means %q, which is read as %q: %v", name, ref, again, err)
				}
			}
		}
	})
}
