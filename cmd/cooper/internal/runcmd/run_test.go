package runcmd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestVariablesOfFilesComeBeforeThoseOfTheCommandLine(t *testing.T) {
	t.Setenv("IN_ENV", "value")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := file("one", "# a comment\n\n A=1\r\nIN_ENV\nNOT_THERE\nB= 2 ")
	got, err := variables([]string{"A=3", "C="}, []string{one})
	if diff := cmp.Diff([]string{"A=1", "IN_ENV=value", "B= 2 ", "A=3", "C="}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	for _, wrong := range [][2][]string{{{"=x"}, nil}, {{"A B=1"}, nil}, {nil, {file("wrong", "A=1\n=x\n")}},
		{nil, {dir}}} {
		if _, err := variables(wrong[0], wrong[1]); !errors.As(err, new(command.UsageError)) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestAnEntryPointIsAProgramOrAnArray(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{"": {}, "sh": {"sh"}, "a b": {"a b"}, `["a","b c"]`: {"a", "b c"},
		"[]":  {},
		"[1]": nil, "[": nil} {
		got, err := entrypoint(text)
		if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (want == nil) {
			t.Errorf("%s: %v (-want +got)\n%s", text, err, diff)
		}
	}
}

func TestARequestIsMadeOfTheFlagsOrRefused(t *testing.T) {
	t.Parallel()
	parse := func(flags ...string) *runOptions {
		o, cmd := new(runOptions), &cobra.Command{}
		o.register(cmd.Flags())
		if err := cmd.ParseFlags(flags); err != nil {
			t.Fatal(err)
		}
		return o
	}
	o := parse("-w", "/w", "-u", "7", "--entrypoint=sh", "--read-only", "--platform=linux/arm64")
	req, err := o.request([]string{"image", "-c", "x"})
	if err != nil || req.Image != "image" || req.Command.Workdir != "/w" || req.Command.User != "7" || !req.ReadOnly ||
		req.Platform == nil || req.Platform.Architecture != "arm64" ||
		!cmp.Equal(req.Command.Args, []string{"-c", "x"}) || !cmp.Equal(req.Command.Entrypoint, []string{"sh"}) {
		t.Errorf("%+v, %v", req, err)
	}
	for _, flag := range []string{"--workdir=w", "--pull=often", "--platform=linux/arm64,linux/amd64",
		"--platform=x/y/z/w",
		"--network=mine", "--env==x"} {
		o := parse(flag)
		if _, err := o.request([]string{"image"}); !errors.As(err, new(command.UsageError)) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestNotesAreShownOnceTheCommandBeginsOrIfTheViewDoes(t *testing.T) {
	t.Parallel()
	var all progress.Sink = &untilBegun{renderer: progress.NewSplit(true, nil)}
	quiet := &untilBegun{renderer: progress.Discard{}}
	if !progress.ShowsNotes(all) || progress.ShowsNotes(quiet) {
		t.Errorf("before: %t, quiet %t", progress.ShowsNotes(all), progress.ShowsNotes(quiet))
	}
	if err := quiet.begin(); err != nil || !progress.ShowsNotes(quiet) {
		t.Errorf("%v: a note goes nowhere", err)
	}
}
