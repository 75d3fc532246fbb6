package buildcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
)

func TestTheLimitOfDiskSpaceIsTheFlagsTheEnvironmentsOrTheFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	for name, c := range map[string]struct {
		flag, env, file string
		bytes           int64
		by, err         string
	}{
		"none":            {},
		"the flag":        {"1MB", "2MB", "[disk]\nmax-used-space = \"3MB\"", 1_000_000, "--max-used-space", ""},
		"the environment": {"", "2MB", "[disk]\nmax-used-space = \"3MB\"", 2_000_000, envMaxUsedSpace, ""},
		"the file":        {"", "", "[disk]\nmax-used-space = \"3MB\"", 3_000_000, "disk.max-used-space in " + file, ""},
		"no limit":        {"0", "", "[disk]\nmax-used-space = \"3MB\"", 0, "--max-used-space", ""},
		"a bad flag":      {flag: "many", err: "--max-used-space: size \"many\""},
		"a bad file": {file: "[disk]\nmax-used-space = \"9999999999GB\"", err: "disk.max-used-space in " + file +
			": size"},
	} {
		t.Setenv(envMaxUsedSpace, c.env)
		got, err := maxUsedSpace(c.flag, set(t, file, c.file))
		if got != (build.DiskLimit{Bytes: c.bytes, By: c.by}) || (err == nil) != (c.err == "") ||
			err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTheShareOfAProjectIsThatOfTheNearestDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "c.toml")
	const shares = `[disk.projects]
"/srv" = "1GB"
"/srv/app/" = "2GB"
"https://example.com/repo.git" = "3GB"
`
	for context, want := range map[string]string{
		"/srv/other": "/srv", "/srv": "/srv", "/srv/app/web": "/srv/app/", "/srv/app": "/srv/app/", "/srv2": "", "-": "",
		"https://example.com/repo.git#main": "https://example.com/repo.git", "https://example.com/repo.git2": "",
	} {
		got, err := shareOf(context, set(t, file, shares))
		if err != nil || got.Project != want || (got.Bytes > 0) != (want != "") {
			t.Errorf("%s: %+v, %v", context, got, err)
		}
	}
	for text, want := range map[string]string{
		"[disk.projects]\nweb = \"1GB\"":          "disk.projects.web in " + file + ": the key must be the absolute path",
		"[disk.projects]\n\"/\" = \"99999999PB\"": "disk.projects./ in " + file + ": size",
	} {
		if got, err := shareOf("/srv", set(t, file, text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// set are the settings of a file.
func set(t *testing.T, file, text string) settings.Settings {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := settings.Read(func(name string) string { return map[string]string{settings.Variable: file}[name] })
	if err != nil {
		t.Fatal(err)
	}
	return s
}
