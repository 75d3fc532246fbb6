package buildcmd

import (
	"testing"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

func TestWithoutAContextItIsTheDirectoryOfTheDockerfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files, args []string
		want        string
	}{
		{nil, nil, "."}, {nil, []string{"x"}, "x"}, {[]string{"d/F"}, nil, "d"}, {[]string{"F"}, nil, "."},
		{[]string{"-"}, nil, "."}, {[]string{"https://h/F", "/d/F", "e/F"}, nil, "/d"}, {[]string{"d/F"}, []string{"x"}, "x"},
	} {
		o := Options{files: tt.files}
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
	spoken := func(d dialect.Dialect, flags ...string) *Options {
		o := &Options{speaks: d}
		cmd := &cobra.Command{}
		o.register(cmd)
		if err := cmd.ParseFlags(flags); err != nil {
			t.Fatal(err)
		}
		o.speak(cmd.Flags())
		return o
	}
	own, podman := spoken(dialect.Cooper), spoken(dialect.Podman)
	if own.Run.HTTPProxy || !podman.Run.HTTPProxy || spoken(dialect.Buildah, "--http-proxy=false").Run.HTTPProxy {
		t.Errorf("%+v\n%+v", own, podman)
	}
	if o := spoken(dialect.Docker, "-fa", "-fb"); len(o.files) != 1 || o.files[0] != "b" || len(o.Notes) != 1 {
		t.Errorf("%q, %q", o.files, o.Notes)
	}
	if o := spoken(dialect.Buildah, "-f", "a,b", "-fc"); len(o.files) != 3 {
		t.Errorf("%q", o.files)
	}
	for _, flags := range []string{"--pull=false", "--pull-never", "--pull=never"} {
		if o := spoken(dialect.Buildah, flags); o.choosePull() != nil || o.pull != "never" {
			t.Errorf("%s: %s", flags, o.pull)
		}
	}
	if o := spoken(dialect.Cooper, "--net=host", "--userns-uid-map-user=x"); o.Run.Network != "host" ||
		!o.Userns.Given() {
		t.Errorf("%+v", o)
	}
}
