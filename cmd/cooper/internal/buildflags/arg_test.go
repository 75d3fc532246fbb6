package buildflags

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestBuildArgumentsComeFromTheEnvironmentByName(t *testing.T) {
	t.Setenv("IN_ENV", "value")
	t.Setenv("EMPTY", "")
	got, err := (&Args{args: []string{"A=1=2", "IN_ENV", "EMPTY", "NOT_THERE", "B=", "A=3"}}).Values()
	if err != nil {
		t.Fatal(err)
	}
	value := func(s string) *string { return &s }
	want := map[string]*string{"A": value("3"), "IN_ENV": value("value"), "EMPTY": value(""), "NOT_THERE": nil,
		"B": value("")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBuildArgumentsOfFilesComeBeforeThoseOfTheCommandLine(t *testing.T) {
	t.Setenv("IN_ENV", "value")
	dir := contextDir(t, map[string]string{
		"one": "# a comment\n\nA=1\r\n  B= 2\nIN_ENV\nC=first\n", "two": "C=second\nD=#no comment", "bad": "A=1\n=x\n",
		"binary": "A=\x00", "large": strings.Repeat("#", maxArgFile+1),
	})
	file := func(name string) string { return filepath.Join(dir, name) }
	got, err := (&Args{files: []string{file("one"), file("two")}, args: []string{"A=own"}}).Values()
	if err != nil {
		t.Fatal(err)
	}
	value := func(s string) *string { return &s }
	want := map[string]*string{"A": value("own"), "B": value(" 2"), "IN_ENV": value("value"), "C": value("second"),
		"D": value("#no comment")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, text := range map[string]string{"bad": "line 2", "binary": "not a text file", "large": "more than",
		"none": "no such file"} {
		_, err := (&Args{files: []string{file(name)}}).Values()
		if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), file(name)) ||
			!errors.As(err, new(command.UsageError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// contextDir is a context with these files.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
