package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestCheckSaysWhatItFindsWithItsStatus(t *testing.T) {
	withoutVariables(t)
	clean := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	doubtful := contextDir(t, map[string]string{"Dockerfile": "FROM scratch AS Base\nMAINTAINER me\n"})
	wrong := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nRUNN x\n"})
	for name, tt := range map[string]struct {
		args        []string
		code        int
		out, errors string
	}{
		"clean": {[]string{"check", clean}, command.ExitOK, "Check complete, no warnings found.\n", ""},
		"doubtful": {[]string{"check", doubtful}, command.ExitFailed, "Check complete, 2 warnings have been found!\n",
			""},
		"wrong":            {[]string{"check", wrong}, command.ExitFailed, "", "unknown instruction"},
		"no Dockerfile":    {[]string{"check", t.TempDir()}, command.ExitFailed, "", "cooper: "},
		"by build":         {[]string{"build", "--check", doubtful}, command.ExitFailed, "2 warnings", ""},
		"by its method":    {[]string{"build", "--call=lint", doubtful}, command.ExitFailed, "2 warnings", ""},
		"the status alone": {[]string{"build", "--call=check,ignorestatus", doubtful}, command.ExitOK, "2 warnings", ""},
		"targets":          {[]string{"build", "--call=targets", doubtful}, command.ExitOK, "base (default)", ""},
		"outline":          {[]string{"build", "--call=outline", doubtful}, command.ExitOK, "TARGET: base", ""},
		"a target":         {[]string{"check", "--target=nowhere", clean}, command.ExitFailed, "", "nowhere"},
		"a file elsewhere": {[]string{"check", "-f", filepath.Join(doubtful, "Dockerfile"), clean}, command.ExitFailed,
			"2 warnings",
			""},
	} {
		got := run(t, null(t), tt.args...)
		if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) ||
			tt.errors == "" && got.errors != "" {
			t.Errorf("%s: status %d, %q, %q", name, got.code, got.out, got.errors)
		}
	}
	t.Chdir(clean)
	if got := run(t, null(t), "check"); got.code != command.ExitOK {
		t.Errorf("in its directory: %+v", got)
	}
}

func TestAsRootCheckNamesADirectoryThatIsNotThere(t *testing.T) {
	withoutVariables(t)
	if got := run(t, null(t), "check", "/no/such"); got.code != command.ExitFailed ||
		!strings.Contains(got.errors, "/no/such") {
		t.Errorf("status %d, %q", got.code, got.errors)
	}
}

func TestCheckWritesItsErrorsAsJSONToo(t *testing.T) {
	withoutVariables(t)
	wrong := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nRUNN x\n"})
	got := run(t, null(t), "check", "--format=json", wrong)
	var report struct {
		BuildError struct{ Message string } `json:"buildError"`
	}
	if err := json.Unmarshal([]byte(got.out), &report); err != nil || got.code != command.ExitFailed ||
		!strings.Contains(report.BuildError.Message, "unknown instruction") || got.errors != "" {
		t.Errorf("status %d, %q, %q, %v", got.code, got.out, got.errors, err)
	}
}

func TestCheckReadsADockerfileFromStandardInput(t *testing.T) {
	withoutVariables(t)
	file := filepath.Join(contextDir(t, map[string]string{"f": "FROM scratch AS Base\n"}), "f")
	for _, args := range [][]string{{"check", "-"}, {"check", "-f", "-", t.TempDir()}} {
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		got := run(t, in, args...)
		if got.code != command.ExitFailed || !strings.Contains(got.out, "1 warning has been found!") || got.errors != "" {
			t.Errorf("%q: status %d, %q, %q", args, got.code, got.out, got.errors)
		}
		_ = in.Close()
	}
}

func TestABuildArgumentThatNobodyTakesIsNoted(t *testing.T) {
	withoutVariables(t)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	got := run(t, null(t), "check", "--build-arg", "NOBODY=1", dir)
	if got.code != command.ExitOK || !strings.Contains(got.errors, "NOBODY") {
		t.Errorf("status %d, %q, %q", got.code, got.out, got.errors)
	}
}

func TestTopHasATableOfNothing(t *testing.T) {
	withoutVariables(t)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if os.Getuid() == 0 {
		t.Setenv("_CONTAINERS_ROOTLESS_UID", "4000000000") // nobody who builds here
	}
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"top":               {command.ExitOK, "BUILD"},
		"top user,huser":    {command.ExitOK, "USER"},
		"top pid args":      {command.ExitOK, "PID"},
		"top nothing":       {command.ExitUsage, `"nothing" is neither a build with a running step nor a descriptor`},
		"top user,nothing":  {command.ExitUsage, "nothing"},
		"top --watch=never": {command.ExitUsage, "never"},
	} {
		got := run(t, null(t), strings.Fields(line)...)
		if got.code != want.code || !strings.Contains(got.out+got.errors, want.text) {
			t.Errorf("cooper %s: status %d, %q, %q", line, got.code, got.out, got.errors)
		}
	}
}
