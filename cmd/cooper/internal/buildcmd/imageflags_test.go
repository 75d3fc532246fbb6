package buildcmd

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

// requested is what a command line asks cooper build for.
func requested(args ...string) (build.Request, *Options, error) {
	o, cmd := &Options{}, &cobra.Command{}
	o.register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return build.Request{}, o, err
	}
	req, err := o.request(".", command.Env{Version: "1.2"})
	return req, o, err
}

func TestFlagsChangeTheImage(t *testing.T) {
	withoutVariables(t)
	t.Setenv("SET", "from outside")
	req, _, err := requested("--env=A=1=2", "--env=SET", "--env=NOT_THERE", "--env", "E=", "--unsetenv=X",
		"--unsetlabel=l",
		"--inherit-labels=false", "--from=other", "--label=k=v", "--label", "bare", "--identity-label",
		"--no-cache-filter=one,2", "--no-cache-filter", "")
	if err != nil {
		t.Fatal(err)
	}
	want := build.Changes{From: "other", Env: []string{"A=1=2", "SET=from outside", "E="}, DropLabels: true,
		UnsetEnv: []string{"X"}, UnsetLabels: []string{"l"}}
	if diff := cmp.Diff(want, req.Changes); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"k": "v", "bare": "", "io.cooper.version": "1.2"}, req.Labels); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"one", "2"}, req.Fresh); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	if req, _, err = requested(); err != nil || cmp.Diff(build.Changes{}, req.Changes) != "" || len(req.Labels) > 0 {
		t.Errorf("without flags: %+v, %v", req, err)
	}
}

func TestFlagsThatContradictEachOtherAreNamedBoth(t *testing.T) {
	withoutVariables(t)
	for line, names := range map[string]string{
		"--label=a=1 --unsetlabel=a":                                "--label --unsetlabel",
		"--platform=linux/arm64 --arch=arm64":                       "--platform --arch",
		"--squash --squash-all":                                     "--squash --squash-all",
		"--squash --layers":                                         "--squash --layers",
		"--annotation=a=1 --unsetannotation=a":                      "--annotation --unsetannotation",
		"--timestamp=1 --source-date-epoch=1":                       "--timestamp --source-date-epoch",
		"--timestamp=1 --build-arg=SOURCE_DATE_EPOCH=1":             "--timestamp --build-arg",
		"--source-date-epoch=1 --build-arg=SOURCE_DATE_EPOCH=2":     "--source-date-epoch --build-arg",
		"--source-date-epoch=1 --rewrite-timestamp=false":           "--source-date-epoch --rewrite-timestamp",
		"--build-arg=SOURCE_DATE_EPOCH=1 --rewrite-timestamp=false": "SOURCE_DATE_EPOCH --rewrite-timestamp",
		"--identity-label --unsetlabel=io.cooper.version":           "--identity-label --unsetlabel",
	} {
		_, _, err := requested(strings.Fields(line)...)
		for name := range strings.FieldsSeq(names) {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v doesn't name %s", line, err, name)
			}
		}
		if !errors.As(err, new(command.UsageError)) {
			t.Errorf("%s: %v is no error of usage", line, err)
		}
	}
	for _, line := range []string{"--env==x", "--unsetenv=", "--unsetlabel=", "--timestamp=x", "--timestamp=-1",
		"--timestamp=253402300800", "--source-date-epoch=x", "--source-date-epoch=-1", "--annotation=index:a=1",
		"--annotation=x:a=1", "--annotation==1",
		"--creds=user", "--creds=:x", "--arch=linux/arm64", "--variant=v7,linux/arm"} {
		if _, _, err := requested(line); !errors.As(err, new(command.UsageError)) {
			t.Errorf("%s: %v is no error of usage", line, err)
		}
	}
}

func TestFlagsWithoutEffectAreTakenAndTheirOppositeIsNoted(t *testing.T) {
	withoutVariables(t)
	_, o, err := requested("--rm", "--force-rm", "--load", "--compress", "-D", "--disable-content-trust",
		"--skip-unused-stages",
		"--force-rm=false", "--load=false")
	if err != nil || len(o.Notes) > 0 {
		t.Errorf("%v, %q", err, o.Notes)
	}
	_, o, err = requested("--rm=false", "--disable-compression=false")
	want := []string{
		"--disable-compression=false has no effect: ", "--rm=false has no effect: ",
	}
	if err != nil || len(o.Notes) != len(want) {
		t.Fatalf("%v, %q", err, o.Notes)
	}
	for n, text := range want {
		if !strings.HasPrefix(o.Notes[n], text) {
			t.Errorf("%q, want %q", o.Notes[n], text)
		}
	}
}

func TestDatesComeFromOneFlagOrElseTheEnvironment(t *testing.T) {
	const name = "SOURCE_DATE_EPOCH"
	for _, tt := range []struct {
		env, args string
		// arg is the build argument, limit and exact are the dates in seconds; 0: none.
		arg          string
		limit, exact int64
	}{
		{"", "", "", 0, 0},
		{"", "--rewrite-timestamp=false", "", 0, 0},
		{"5", "", "5", 5, 0},
		{"5", "--build-arg=" + name, "5", 5, 0},
		{"5", "--build-arg=" + name + "=", "", 0, 0},
		{"5", "--source-date-epoch=7 --rewrite-timestamp", "7", 7, 0},
		{"", "--source-date-epoch=7 --build-arg=" + name + "=7", "7", 7, 0},
		{"5", "--timestamp=9", "", 0, 9},
		{"", "--source-date-epoch=context", "context", 0, 0},
		{"context", "", "context", 0, 0},
	} {
		withoutVariables(t)
		if tt.env != "" {
			t.Setenv(name, tt.env)
		}
		req, _, err := requested(strings.Fields(tt.args)...)
		if err != nil {
			t.Errorf("%s %q: %v", tt.env, tt.args, err)
			continue
		}
		arg := ""
		if given := req.BuildArgs[name]; given != nil {
			arg = *given
		}
		seconds := func(at *time.Time) int64 {
			if at == nil {
				return 0
			}
			return at.Unix()
		}
		if limit, exact := seconds(req.SourceDate), seconds(req.Timestamp); arg != tt.arg || limit != tt.limit ||
			exact != tt.exact {
			t.Errorf("%s %q: argument %q, limit %d, exactly %d", tt.env, tt.args, arg, limit, exact)
		}
	}
}

func TestLayersAreSquashedAsTheFlagsSay(t *testing.T) {
	const envLayers = "BUILDAH_LAYERS"
	for _, tt := range []struct {
		env, args string
		want      build.Squash
	}{
		{"", "", build.SquashNone},
		{"", "--layers", build.SquashNone},
		{"", "--layers=false", build.SquashNew},
		{"", "--squash", build.SquashNew},
		{"", "--squash --layers=false", build.SquashNew},
		{"", "--squash-all", build.SquashAll},
		{"", "--squash-all --layers", build.SquashAll},
		{"false", "", build.SquashNew},
		{"false", "--layers", build.SquashNone},
		{"true", "", build.SquashNone},
		{"0", "--squash-all", build.SquashAll},
	} {
		withoutVariables(t)
		t.Setenv(envLayers, tt.env)
		if req, _, err := requested(strings.Fields(tt.args)...); err != nil || req.Image.Squash != tt.want {
			t.Errorf("%s %q: %v, %v", tt.env, tt.args, req.Image.Squash, err)
		}
	}
	t.Setenv(envLayers, "x")
	if _, _, err := requested(); err == nil || !strings.Contains(err.Error(), envLayers) {
		t.Errorf("%s=x: %v", envLayers, err)
	}
}

func TestFlagsAnnotateTheImage(t *testing.T) {
	withoutVariables(t)
	req, _, err := requested("--annotation=a=1", "--annotation", "bare", "--annotation",
		"manifest,manifest-descriptor:b=2=3",
		"--unsetannotation=index", "--inherit-annotations", "--created-annotation", "--omit-history")
	if err != nil {
		t.Fatal(err)
	}
	want := build.ImageOptions{OmitHistory: true, InheritAnnotations: true, DateAnnotation: true,
		UnsetAnnotations: []string{"index"}, Annotations: annotation.Set{
			{Place: annotation.Manifest, Key: "a", Value: "1"}, {Place: annotation.Manifest, Key: "bare"},
			{Place: annotation.Manifest, Key: "b", Value: "2=3"},
			{Place: annotation.ManifestDescriptor, Key: "b", Value: "2=3"},
		}}
	if diff := cmp.Diff(want, req.Image); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPartsMakeAPlatform(t *testing.T) {
	for args, want := range map[string]string{
		"--arch=arm64":              "linux/arm64",
		"--arch=arm --variant=v6":   "linux/arm/v6",
		"--os=wasip1 --arch=wasm":   "wasip1/wasm",
		"--os=linux --arch=aarch64": "linux/arm64",
		"--platform=linux/s390x":    "linux/s390x",
		"":                          "linux/ppc64le",
	} {
		withoutVariables(t)
		t.Setenv(envPlatform, "linux/ppc64le")
		req, _, err := requested(strings.Fields(args)...)
		if err != nil || len(req.Platforms) != 1 || platforms.FormatAll(req.Platforms[0]) != want {
			t.Errorf("%s: %v, %v", args, req.Platforms, err)
		}
	}
}

// withoutVariables keeps the machine's own settings out of a test.
func withoutVariables(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if regexp.MustCompile("^(BUILD|CONTAINER|COOPER|DOCKER|PODMAN|SOURCE_DATE|SSH_AUTH|EXPERIMENTAL)").MatchString(name) {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Chdir(t.TempDir())
}
