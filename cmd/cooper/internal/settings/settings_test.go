package settings

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"errors"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/tomlfile"
)

// write writes a file and gives its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// env gives variables of an environment.
func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestTheUsersFileIsFoundByTheEnvironmentAndSaysWhereAValueComesFrom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := write(t, filepath.Join(dir, ".config/cooper/cooper.toml"), "[network]\ndefault = \"none\"\n")
	config := write(t, filepath.Join(dir, "c/cooper/cooper.toml"), "network = { default = \"host\" }\n")
	empty := write(t, filepath.Join(dir, "empty.toml"), "[network]\n")
	only := write(t, filepath.Join(dir, "only.toml"), "network.allow-host-when-impossible = true\n")
	for name, test := range map[string]struct {
		env        map[string]string
		key        Key
		text, from string
	}{
		"nothing":         {nil, NetworkDefault, rows()[0].usual, ""},
		"home":            {map[string]string{"HOME": dir}, NetworkDefault, "none", home},
		"XDG":             {map[string]string{"HOME": dir, "XDG_CONFIG_HOME": dir + "/c"}, NetworkDefault, "host", config},
		"a relative XDG":  {map[string]string{"HOME": dir, "XDG_CONFIG_HOME": "c"}, NetworkDefault, "none", home},
		"a file":          {map[string]string{"HOME": dir, Variable: only}, NetworkAllowHost, "true", only},
		"no other file":   {map[string]string{"HOME": dir, Variable: only}, NetworkDefault, rows()[0].usual, ""},
		"an empty table":  {map[string]string{Variable: empty}, NetworkDefault, rows()[0].usual, ""},
		"no such home":    {map[string]string{"HOME": dir + "/none"}, NetworkDefault, rows()[0].usual, ""},
		"the usual value": {map[string]string{"HOME": dir}, NetworkAllowHost, "false", ""},
	} {
		s, err := Read(env(test.env))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, v := range s.All() {
			if want := (Value{test.key, test.text, test.from}); v.Key == test.key && v != want {
				t.Errorf("%s: %v, want %v", name, v, want)
			}
		}
		if s.Text(test.key) != test.text || s.Is(test.key) != (test.text == "true") {
			t.Errorf("%s: %q", name, s.Text(test.key))
		}
	}
}

func TestAFileThatGoesBeforeAnotherReplacesItsValuesOneByOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	machine := write(t, dir+"/machine", "[network]\ndefault = \"host\"\nallow-host-when-impossible = true\n")
	user := write(t, dir+"/user", "[network]\ndefault = \"none\"\n")
	s, err := Read(env(nil))
	if err := errors.Join(err, s.add(machine), s.add(user)); err != nil {
		t.Fatal(err)
	}
	want := []Value{{NetworkDefault, "none", user}, {NetworkAllowHost, "true", machine}, {Key: LimitsMemory},
		{Key: LimitsCPUs}, {Key: LimitsProcesses}, {Key: LimitsTime}, {Key: DiskMaxUsed}}
	if diff := cmp.Diff(want, s.All()); diff != "" {
		t.Error(diff)
	}
}

func TestATableOfTheUsersNamesIsReadNameByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	machine := write(t, dir+"/machine", "[disk.projects]\n\"/srv/a.b\" = \"1GB\"\n\"/srv\" = \"2GB\"\n")
	user := write(t, dir+"/user", "[disk.projects]\n\"/srv\" = \"3 GiB\"\n")
	empty := write(t, dir+"/empty", "[disk.projects]\n")
	s, err := Read(env(nil))
	if err := errors.Join(err, s.add(machine), s.add(user), s.add(empty)); err != nil {
		t.Fatal(err)
	}
	want := map[string]Value{"/srv/a.b": {DiskProjects + "./srv/a.b", "1GB", machine},
		"/srv": {DiskProjects + "./srv", "3 GiB", user}}
	if diff := cmp.Diff(want, s.Below(DiskProjects)); diff != "" {
		t.Error(diff)
	}
	if got := s.Below(DiskProjects)["/srv"].Where(); got != "disk.projects./srv in "+user {
		t.Errorf("it is %q", got)
	}
}

func TestWhatAFileMayNotSayIsAnErrorWithFileLineAndRemedy(t *testing.T) {
	t.Parallel()
	const there = "\nhint: there are network.default, network.allow-host-when-impossible"
	for text, want := range map[string]string{
		"[network]\n\ndefault = \"hosts\"":                  `3: network.default must be "private", "host" or "none"`,
		"[network]\ndefault = true":                         `2: network.default must be "private", "host" or "none"`,
		"[network]\ndefault = [\"host\"]":                   `2: network.default must be "private", "host" or "none"`,
		"network.default = {}":                              `1: network.default must be "private", "host" or "none"`,
		"network.default.x = 1":                             "1: there is no setting network.default.x" + there,
		"network.allow-host-when-impossible=\"\"":           "1: network.allow-host-when-impossible must be true or false",
		"# a\n[network]\nDefault = \"host\"":                "3: there is no setting network.Default" + there,
		"network = 1":                                       "1: there is no setting network" + there,
		"[[network]]\ndefault = \"host\"":                   "1: there is no setting network" + there,
		"[a]\n[a.b]\nc = 1":                                 "3: there is no setting a.b.c" + there,
		"x.y.z = 1":                                         "1: there is no setting x.y.z" + there,
		"\n\ndefault = \"host\"":                            "3: there is no setting default" + there,
		"[network]\ndefault = host":                         `2: expected value but found "host" instead`,
		"[network]\ndefault = \"host\"\ndefault = \"host\"": "3: Key 'network.default' has already been defined.",
		"[network":                    "1: expected '.' or ']' to end table name",
		"[disk]\nmax-used-space = 10": `2: disk.max-used-space must be a size in quotation marks, such as "10GB"`,
		"[disk]\n[disk.projects]\n\"/a.b\" = \"10QB\"": `3: disk.projects./a.b must be a size in quotation marks, such as "10GB"`,
		"[disk]\nprojects = 1":                         "2: there is no setting disk.projects" + there,
		"[net]":                                        "1: there is no setting net" + there,
	} {
		file := write(t, filepath.Join(t.TempDir(), "c.toml"), text)
		_, err := Read(env(map[string]string{Variable: file}))
		if err == nil || !strings.HasPrefix(err.Error(), Variable+": "+file+":"+want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAFileThatTheEnvironmentNamesMustBeReadable(t *testing.T) {
	t.Parallel()
	if _, err := Read(env(map[string]string{Variable: "/none"})); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	large := write(t, t.TempDir()+"/large", strings.Repeat("#\n", tomlfile.MaxBytes))
	if _, err := Read(env(map[string]string{Variable: large})); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Error(err)
	}
	if _, err := Read(env(map[string]string{Variable: t.TempDir()})); err == nil {
		t.Error("a directory was read")
	}
}

func TestAFileInADirectoryThatCannotBeEnteredIsNone(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(home, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(env(map[string]string{"HOME": home})); err != nil {
		t.Error(err)
	}
}
