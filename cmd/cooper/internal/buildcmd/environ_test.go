package buildcmd

import (
	"os"
	"strings"
	"testing"
)

// environment is a lookup in NAME=VALUE texts.
func environment(entries ...string) lookup {
	return func(name string) (string, bool) {
		for _, e := range entries {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

func TestVariablesOfOtherBuildersCountOrAreNamed(t *testing.T) {
	flags := func(o *Options) {
		o.platform.List, o.progress, o.Run.Isolation, o.Run.Runtime, o.noCache = []string{"linux/s390x"}, "plain", "native",
			"",
			true
	}
	for _, tt := range []struct {
		entry string
		flags func(*Options)
		note  string
		want  string
	}{
		{entry: "DOCKER_DEFAULT_PLATFORM=linux/arm64", want: "linux/arm64|||"},
		{entry: "DOCKER_DEFAULT_PLATFORM=linux/arm64", flags: flags, want: "linux/s390x|plain|native|"},
		{entry: "DOCKER_DEFAULT_PLATFORM=", want: "|||"},
		{entry: "BUILDKIT_PROGRESS=json", want: "|json||"},
		{entry: "BUILDKIT_PROGRESS=json", flags: flags, want: "linux/s390x|plain|native|"},
		{entry: "BUILDAH_ISOLATION=oci", want: "||oci|"},
		{entry: "BUILDAH_ISOLATION=oci", flags: flags, want: "linux/s390x|plain|native|"},
		{entry: "BUILDAH_ISOLATION=other", want: "|||",
			note: "BUILDAH_ISOLATION=other has no effect: every RUN step has namespaces of its own"},
		{entry: "BUILDAH_ISOLATION=chroot", want: "|||"},
		{entry: "BUILDAH_ISOLATION=chroot", flags: flags, want: "linux/s390x|plain|native|"},
		{entry: "BUILDAH_RUNTIME=crun", want: "|||", note: "BUILDAH_RUNTIME=crun has no effect: without --isolation=oci"},
		{entry: "BUILDAH_RUNTIME=crun", flags: func(o *Options) { o.Run.Isolation = "oci" }, want: "||oci|crun"},
		{entry: "BUILDAH_RUNTIME=crun", flags: func(o *Options) { o.Run.Runtime = "runc" }, want: "|||runc"},
		{entry: "DOCKER_BUILDKIT=0", want: "|||",
			note: "DOCKER_BUILDKIT=0 has no effect: there is one builder, with BuildKit's language"},
		{entry: "DOCKER_BUILDKIT=1", want: "|||"},
		{entry: "DOCKER_HOST=tcp://far", want: "|||", note: "DOCKER_HOST=tcp://far has no effect: cooper builds here"},
		{entry: "DOCKER_CONTEXT=far", want: "|||", note: "DOCKER_CONTEXT=far has no effect"},
		{entry: "DOCKER_CONTEXT=default", want: "|||"},
		{entry: "CONTAINER_HOST=ssh://far", want: "|||", note: "CONTAINER_HOST=ssh://far has no effect"},
		{entry: "BUILDKIT_HOST=tcp://" + strings.Repeat("x", 100), want: "|||", note: "BUILDKIT_HOST=tcp://" +
			strings.Repeat("x", 34) + "... has no effect"},
		{entry: "BUILDX_BUILDER=far", want: "|||", note: "BUILDX_BUILDER=far has no effect"},
		{entry: "DOCKER_CONTENT_TRUST=1", want: "|||",
			note: "DOCKER_CONTENT_TRUST=1 has no effect: policy.json says which images are trusted"},
		{entry: "DOCKER_CONTENT_TRUST=0", want: "|||"},
		{entry: "BUILDKIT_COLORS=run=green", want: "|||", note: "BUILDKIT_COLORS=run=green has no effect"},
		{entry: "BUILDAH_NOPIVOT=true", want: "|||", note: "BUILDAH_NOPIVOT=true has no effect"},
		{entry: "UNKNOWN=x", want: "|||"},
	} {
		var o Options
		if tt.flags != nil {
			tt.flags(&o)
		}
		if err := o.takeEnvironment(environment(tt.entry)); err != nil {
			t.Errorf("%s: %v", tt.entry, err)
		}
		got := strings.Join([]string{strings.Join(o.platform.List, ","), o.progress, o.Run.Isolation, o.Run.Runtime}, "|")
		notes := strings.Join(o.Notes, "\n")
		if got != tt.want || !strings.HasPrefix(notes, tt.note) || (notes == "") != (tt.note == "") {
			t.Errorf("%s: got %s and %q, want %s and %q", tt.entry, got, notes, tt.want, tt.note)
		}
	}
	if err := new(Options).takeEnvironment(environment("BUILDKIT_PROGRESS=fancy")); err == nil ||
		!strings.HasPrefix(err.Error(), "BUILDKIT_PROGRESS: ") {
		t.Errorf("a view that there isn't: %v", err)
	}
}

func TestThePageNamesTheVariables(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/environment.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{envPlatform, envProgress, envFormat, envMaxUsedSpace}
	for _, v := range otherVariables() {
		names = append(names, v.name)
	}
	for _, name := range names {
		if !strings.Contains(string(page), "| `"+name+"`") && !strings.Contains(string(page), ", `"+name+"`") {
			t.Errorf("docs/environment.md has no row for %s", name)
		}
	}
}
