package buildflags

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

func TestADialectHasItsOwnImages(t *testing.T) {
	t.Setenv(envLayers, "")
	spoken := func(d dialect.Dialect, flags ...string) build.Request {
		var i Image
		f := pflag.NewFlagSet("build", pflag.ContinueOnError)
		i.Register(f)
		if err := f.Parse(flags); err != nil {
			t.Fatal(err)
		}
		if d.Containers() {
			i.Speak(d, f)
		}
		var req build.Request
		if err := i.Apply(&req, "1.2"); err != nil {
			t.Fatal(err)
		}
		return req
	}
	for name, tt := range map[string]struct {
		req    build.Request
		label  string
		dated  bool
		squash build.Squash
	}{
		"cooper":           {spoken(dialect.Cooper), "", false, build.SquashNone},
		"cooper, labelled": {spoken(dialect.Cooper, "--identity-label"), "io.cooper.version", false, build.SquashNone},
		"podman":           {spoken(dialect.Podman), "io.buildah.version", true, build.SquashNone},
		"buildah":          {spoken(dialect.Buildah), "io.buildah.version", true, build.SquashNew},
		"podman --squash":  {spoken(dialect.Podman, "--squash"), "io.buildah.version", true, build.SquashNew},
		"buildah --squash": {spoken(dialect.Buildah, "--squash"), "io.buildah.version", true, build.SquashAll},
		"buildah --layers": {spoken(dialect.Buildah, "--layers"), "io.buildah.version", true, build.SquashNone},
		"buildah, bare": {spoken(dialect.Buildah, "--identity-label=false", "--created-annotation=false"), "", false,
			build.SquashNew},
		"buildah, without the label": {spoken(dialect.Buildah, "--unsetlabel=io.buildah.version"), "", true, build.SquashNew},
	} {
		_, has := tt.req.Labels[tt.label]
		if has != (tt.label != "") || len(tt.req.Labels) > 1 || tt.req.Image.DateAnnotation != tt.dated ||
			tt.req.Image.Squash != tt.squash {
			t.Errorf("%s: %+v", name, tt.req)
		}
	}
}
