package cli

import (
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

func TestBuildArgumentsComeFromTheEnvironmentByName(t *testing.T) {
	t.Setenv("IN_ENV", "value")
	t.Setenv("EMPTY", "")
	got, err := (&argFlags{args: []string{"A=1=2", "IN_ENV", "EMPTY", "NOT_THERE", "B=", "A=3"}}).values()
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

func TestSignalsAreWaitedForUntilTheEndOnly(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		ctx, stop := signalContext()
		stop()
		if ctx.Err() == nil {
			t.Error("the context goes on")
		}
	}
	end := time.Now().Add(10 * time.Minute)
	for runtime.NumGoroutine() > before+5 {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

func TestEachFlagThatHasItsMeaningIsThere(t *testing.T) {
	t.Parallel()
	build, _, err := Tree().Find([]string{"build"})
	if err != nil {
		t.Fatal(err)
	}
	build.InitDefaultHelpFlag()
	for _, row := range dialect.Flags() {
		f := build.Flags().Lookup(row.Name)
		switch _, foreign := f.Value.(interface{ Foreign() }); {
		case row.Kind == dialect.Own && foreign, row.Kind != dialect.Own && !foreign:
			t.Errorf("--%s is of kind %d in the table, and the flag is not", row.Name, row.Kind)
		case row.Kind == dialect.Own && row.Switch != (f.Value.Type() == "bool"):
			t.Errorf("--%s: the table and the flag differ on whether it needs a value", row.Name)
		case row.Short != "" && build.Flags().ShorthandLookup(row.Short) == nil:
			t.Errorf("-%s is not there", row.Short)
		}
	}
}

func TestWithoutAContextItIsTheDirectoryOfTheDockerfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files, args []string
		want        string
	}{
		{nil, nil, "."}, {nil, []string{"x"}, "x"}, {[]string{"d/F"}, nil, "d"}, {[]string{"F"}, nil, "."},
		{[]string{"-"}, nil, "."}, {[]string{"https://h/F", "/d/F", "e/F"}, nil, "/d"}, {[]string{"d/F"}, []string{"x"}, "x"},
	} {
		o := buildOptions{files: tt.files}
		if got := o.contextOf(tt.args); got != tt.want {
			t.Errorf("%q, %q: %s, want %s", tt.files, tt.args, got, tt.want)
		}
	}
	if err := checkContextArg(dialect.Docker, nil); err == nil {
		t.Error("docker's users need no context")
	}
}

func TestADialectHasItsOwnDefaults(t *testing.T) {
	t.Parallel()
	spoken := func(d dialect.Dialect, flags ...string) *buildOptions {
		o := &buildOptions{speaks: d}
		cmd := &cobra.Command{}
		o.register(cmd)
		if err := cmd.ParseFlags(flags); err != nil {
			t.Fatal(err)
		}
		o.speak(cmd.Flags())
		return o
	}
	own, podman, buildah := spoken(dialect.Cooper), spoken(dialect.Podman), spoken(dialect.Buildah)
	if own.run.HTTPProxy || own.image.identity || own.image.finished.dated || !podman.run.HTTPProxy ||
		!podman.image.identity || !podman.image.finished.dated {
		t.Errorf("%+v\n%+v", own, podman)
	}
	if o := spoken(dialect.Buildah, "--http-proxy=false", "--identity-label=false"); o.run.HTTPProxy || o.image.identity {
		t.Errorf("%+v", o)
	}
	for name, tt := range map[string]struct {
		o    *buildOptions
		want build.Squash
	}{"cooper": {own, build.SquashNone}, "podman": {podman, build.SquashNone}, "buildah": {buildah, build.SquashNew},
		"podman --squash":  {spoken(dialect.Podman, "--squash"), build.SquashNew},
		"buildah --squash": {spoken(dialect.Buildah, "--squash"), build.SquashAll},
		"buildah --layers": {spoken(dialect.Buildah, "--layers"), build.SquashNone}} {
		if got, err := tt.o.image.finished.squashed(); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if o := spoken(dialect.Docker, "-fa", "-fb"); len(o.files) != 1 || o.files[0] != "b" || len(o.notes) != 1 {
		t.Errorf("%q, %q", o.files, o.notes)
	}
	if o := spoken(dialect.Buildah, "-f", "a,b", "-fc"); len(o.files) != 3 {
		t.Errorf("%q", o.files)
	}
	for _, flags := range []string{"--pull=false", "--pull-never", "--pull=never"} {
		if o := spoken(dialect.Buildah, flags); o.choosePull() != nil || o.pull != "never" {
			t.Errorf("%s: %s", flags, o.pull)
		}
	}
	if o := spoken(dialect.Cooper, "--net=host", "--userns-uid-map-user=x"); o.run.Network != "host" ||
		!o.userns.Given() {
		t.Errorf("%+v", o)
	}
}
