package other

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(usertest.Both(m.Run), store.HandleReexec))
}

// own makes a home directory without any configuration, and gives the place of the user's own store in it.
func own(t *testing.T) (root string) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{"HOME": home, "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "",
		"XDG_RUNTIME_DIR":         home,
		"CONTAINERS_STORAGE_CONF": filepath.Join(home, "storage.conf"), "STORAGE_DRIVER": "", "STORAGE_OPTS": ""} {
		t.Setenv(name, value)
	}
	root = filepath.Join(home, "store")
	write(t, filepath.Join(home, "storage.conf"), "[storage]\ngraphroot = \""+root+"\"\nrootless_storage_path = \""+root+
		"\"\n")
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAnOrdinaryUsersOtherStoreIsFound by what lies on the disk, or by an old program; root has one store only.
func TestAnOrdinaryUsersOtherStoreIsFound(t *testing.T) {
	root := own(t) // one for all: the library reads the configuration once
	for name, test := range map[string]struct {
		remembered, there, old, ask bool
		want                        string // the beginning of the problem; empty: none is found
	}{
		"nothing":                     {},
		"nothing, and an old program": {old: true},
		"that a program would make":   {old: true, ask: true, want: "podman 4.3.1 keeps images in "},
		"images of another driver":    {there: true, want: "podman keeps images in "},
		"podman's data base":          {remembered: true, want: "podman keeps images in "},
		"both":                        {remembered: true, there: true, want: "podman keeps images in "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			path := t.TempDir()
			t.Setenv("PATH", path)
			if test.old {
				program(t, path, "podman", "podman version 4.3.1")
			}
			if test.there {
				write(t, filepath.Join(root, "vfs-images", "images.json"), "[]")
			}
			if test.remembered {
				write(t, filepath.Join(root, "libpod", "bolt_state.db"), "graph-driver-namevfs")
			}
			got, found := Find(t.Context(), store.Options{Driver: "overlay"}, test.ask)
			if want := test.want != "" && unshare.IsRootless(); found != want || want &&
				!strings.HasPrefix(got.Problem, test.want+root) {
				t.Errorf("found %t: %+v, want %q", found, got, test.want)
			}
			if found && strings.Contains(got.Fix, "rm -r "+root+"/libpod") != test.remembered {
				t.Errorf("the advice is %q", got.Fix)
			}
		})
	}
}

// TestTheMachinesRootAndAChosenStoreAreToldNothing, and nothing is noted.
func TestTheMachinesRootAndAChosenStoreAreToldNothing(t *testing.T) {
	root := own(t)
	for name, o := range map[string]store.Options{"chosen": {Root: root, Driver: "overlay"},
		"another driver": {Root: root + "2", Driver: "vfs"}} {
		s, err := store.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		o.Tell = func(text string) { t.Errorf("%s: told %s", name, text) }
		if err := Tell(t.Context(), s, o); err != nil {
			t.Error(err)
		}
		for _, note := range []string{toldFile, askedFile} {
			if _, err := os.Stat(filepath.Join(s.Paths().Own, note)); err == nil {
				t.Errorf("%s: %s was noted", name, note)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(o.Root, "overlay"), unix.MNT_DETACH)
	}
}
