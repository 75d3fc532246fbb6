package hooks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plant writes files, by name, into a directory.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func text(path, when, stages string) string {
	return fmt.Sprintf(`{"version": "1.0.0", "hook": {"path": %q, "args": ["h"], "timeout": 3}, "when": %s, "stages": [%s]}`,
		path, when, stages)
}

func TestHooksRunWhereTheirConditionsHold(t *testing.T) {
	t.Parallel()
	first := plant(t, map[string]string{
		"1.json":   text("/bin/true", `{"always": true}`, `"prestart", "poststop"`),
		"2.json":   text("/bin/true", `{"always": true}`, `"prestart"`),
		"3.json":   text("/bin/sh", `{"commands": ["^/bin/mine$"]}`, `"createRuntime"`),
		"4.json":   text("/bin/sh", `{"hasBindMounts": true}`, `"createContainer"`),
		"5.json":   text("/bin/sh", `{"annotations": {".*": ".*"}}`, `"poststart"`),
		"ignored":  "nonsense",
		"6.json.1": "nonsense",
	})
	second := plant(t, map[string]string{"2.json": text("/bin/sh", `{"always": true}`, `"startContainer"`)})
	set, err := Read([]string{first, filepath.Join(first, "none"), second})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		program  string
		hostDirs bool
		want     string
	}{
		{"/bin/other", false, "prestart:/bin/true poststop:/bin/true startContainer:/bin/sh"},
		{"/bin/mine", true, "prestart:/bin/true poststop:/bin/true startContainer:/bin/sh createRuntime:/bin/sh " +
			"createContainer:/bin/sh"},
	} {
		var got []string
		for _, h := range set.For(test.program, test.hostDirs) {
			got = append(got, h.Point+":"+h.Path)
			if strings.Join(h.Args, " ") != "h" || *h.Timeout != 3 {
				t.Errorf("%+v", h)
			}
		}
		if all := strings.Join(got, " "); all != test.want {
			t.Errorf("%s: %s, not %s", test.program, all, test.want)
		}
	}
}

func TestAMistakeInAHookNamesTheFile(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"{":                   "unexpected end",
		`{"version":"0.1.0"}`: `its version is "0.1.0"`,
		text("true", `{"always": true}`, `"prestart"`):         `its path "true" is not absolute`,
		text("/none/there", `{"always": true}`, `"prestart"`):  "no such file",
		text("/bin", `{"always": true}`, `"prestart"`):         "/bin is no program",
		text("/bin/true", `{"always": true}`, ``):              "it has no stages",
		text("/bin/true", `{"always": true}`, `"before"`):      `it has a stage "before"`,
		text("/bin/true", `{"commands": ["("]}`, `"prestart"`): "missing closing",
	} {
		_, err := Read([]string{plant(t, map[string]string{"x.json": content})})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/x.json: ") {
			t.Errorf("%s: %v", content, err)
		}
	}
}
