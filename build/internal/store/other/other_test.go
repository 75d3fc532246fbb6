package other

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
)

// program puts a program into PATH that prints a text.
func program(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+text+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestOldProgramsAreKnownByTheirVersion(t *testing.T) {
	for name, test := range map[string]struct {
		podman, buildah string
		want            string
	}{
		"none":                     {"", "", ""},
		"an old podman":            {"podman version 4.3.1", "", "podman 4.3.1"},
		"a new one":                {"podman version 5.0.0-rc1", "", ""},
		"an old buildah beside it": {"podman version 5.2.0", "buildah version 1.28.2 (image-spec 1.0.2)", "buildah 1.28.2"},
		"a new buildah":            {"podman version 5.2.0", "buildah version 1.35.0 (image-spec 1.1.0)", ""},
		"something else":           {"a wrapper", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("PATH", dir)
			if test.podman != "" {
				program(t, dir, "podman", test.podman)
			}
			if test.buildah != "" {
				program(t, dir, "buildah", test.buildah)
			}
			got := oldProgram(t.Context())
			version, _, _ := strings.Cut(got, " (")
			if version != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPodmansDataBaseSaysWhichDriverItTakes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if remembers(root) {
		t.Error("without a data base")
	}
	path := filepath.Join(root, "libpod", "bolt_state.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"\x00graph-driver-namevfs\x00": true, "\x00graph-driver-nameoverlay": false} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := remembers(root); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestTheDriverIsConfiguredWhereTheConfigurationIs(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CONTAINERS_STORAGE_CONF", "")
	t.Setenv("XDG_CONFIG_HOME", dir)
	conf := filepath.Join(dir, "containers", "storage.conf")
	if got := configLine(); !strings.HasPrefix(got, "mkdir -p "+filepath.Dir(conf)) || !strings.HasSuffix(got, ">"+conf) {
		t.Errorf("without a file: %s", got)
	}
	own := filepath.Join(dir, "own.conf")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", own)
	if got := configLine(); !strings.Contains(got, "below [storage] in "+own) {
		t.Errorf("with a file: %s", got)
	}
}

func TestAStoreThatWasChosenHasNoOther(t *testing.T) {
	t.Parallel()
	if found, ok := Find(t.Context(), store.Options{Root: t.TempDir()}, true); ok {
		t.Errorf("found %+v", found)
	}
}
