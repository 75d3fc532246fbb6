package outputs

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

func TestAnImageIsPushedToFullNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"example.test/app":             "example.test/app:latest",
		"example.test/app:1":           "example.test/app:1",
		"example.test:5000/team/app:1": "example.test:5000/team/app:1",
		"docker://example.test/app:1":  "example.test/app:1",
		"localhost/app":                "localhost/app:latest",
		"docker.io/app":                "docker.io/library/app:latest",
		"app":                          "error: image name \"app\" does not say in which registry\nhint: Docker's is docker.io/library/app",
		"team/app:1":                   "error: image name \"team/app:1\" does not say in which registry\nhint: Docker's is docker.io/team/app",
		"docker://app":                 "error: image name \"docker://app\" does not say in which registry\nhint: Docker's is docker.io/library/app",
		"example.test/app@" + sum.String(): "error: image name \"example.test/app@" + sum.String() +
			"\": a name to push to can't have a digest",
		"example.test/App":                  "error: image name \"example.test/App\": ",
		"":                                  "error: image name \"\": ",
		"https://example.test/app":          "error: image name \"https://example.test/app\": ",
		"example.test/app:1\nexample.test/": "error: image name ",
	} {
		ref, err := PushName(text)
		if wrong, ok := strings.CutPrefix(want, "error: "); ok {
			if err == nil || !strings.HasPrefix(err.Error(), wrong) {
				t.Errorf("%q: %v, want %q", text, err, wrong)
			}
			continue
		}
		if err != nil || ref.String() != want {
			t.Errorf("%q: %s, %v, want %s", text, ref, err, want)
		}
	}
}

var sum = digest.FromString("x")

// TestTheNamesOfAnOutputGoBeforeThoseOfTheImage and each counts once.
func TestTheNamesOfAnOutputGoBeforeThoseOfTheImage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ spec, tags, want []string }{
		"the image's": {nil, []string{"example.test/a:1", "example.test/b"},
			[]string{"example.test/a:1", "example.test/b:latest"}},
		"the output's": {[]string{"example.test/c:1"}, []string{"app"}, []string{"example.test/c:1"}},
		"twice":        {[]string{"example.test/c", "example.test/c:latest"}, nil, []string{"example.test/c:latest"}},
	} {
		all, err := PushNames(export.Spec{Names: test.spec}, test.tags)
		var got []string
		for _, ref := range all {
			got = append(got, ref.String())
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
	for name, names := range map[string][]string{"there is no name to push to\nhint: -t REGISTRY/NAME:TAG names the image": nil,
		"does not say in which registry": {"example.test/a:1", "app"}} {
		if _, err := PushNames(export.Spec{}, names); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", names, err)
		}
	}
}

// TestOutputsThatCanNotBeAreRefusedBeforeTheBuild with the words of the user.
func TestOutputsThatCanNotBeAreRefusedBeforeTheBuild(t *testing.T) {
	t.Parallel()
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	registryOf := func(names ...string) export.Spec {
		return export.Spec{Type: export.TypeRegistry, Names: names, Push: &export.PushSpec{}}
	}
	for name, test := range map[string]struct {
		platforms []ocispec.Platform
		spec      export.Spec
		want      string
	}{
		"an image": {[]ocispec.Platform{amd64()}, export.Spec{Type: export.TypeDocker, Dest: "a.tar"}, ""},
		"docker's for several": {[]ocispec.Platform{amd64(), arm}, export.Spec{Type: export.TypeDocker, Dest: "a.tar"},
			"--output a.tar: "},
		"files for several": {[]ocispec.Platform{amd64(), arm}, export.Spec{Type: export.TypeTar, Dest: "a.tar"}, ""},
		"OCI's for several": {[]ocispec.Platform{amd64(), arm}, export.Spec{Type: export.TypeOCI, Dest: "a.tar"}, ""},
		"a push":            {[]ocispec.Platform{amd64()}, registryOf("example.test/a:1"), ""},
		"a push to a short name": {[]ocispec.Platform{amd64()}, registryOf("a:1"),
			"--output type=registry: image name \"a:1\" does not say"},
		"a push without any name": {[]ocispec.Platform{amd64()}, registryOf(),
			"--output type=registry: there is no name to push to"},
		"an annotation of no image": {[]ocispec.Platform{amd64()},
			export.Spec{Type: export.TypeOCI, Annotations: annotation.Set{
				{Place: annotation.Manifest, Platform: "linux/arm64", Key: "a", Value: "b"}}}, "--output type=oci: "},
	} {
		err := Check(test.platforms, []export.Spec{test.spec}, nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestOutputsNameTheImageInTheStore(t *testing.T) {
	t.Parallel()
	got := StoreNames([]export.Spec{{Type: export.TypeImage, Names: []string{"a", "b"}}, {Type: export.TypeOCI,
		Names: []string{"c"}}, {Type: export.TypeImage}, {Type: export.TypeImage, Names: []string{"d"}}})
	if want := []string{"a", "b", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAnnotationsOfTheImageAreTheOutputsToo but for formats that have none, and an output's own come after them.
func TestAnnotationsOfTheImageAreTheOutputsToo(t *testing.T) {
	t.Parallel()
	set := annotation.Set{{Place: annotation.Manifest, Key: "a", Value: "image's"}}
	own := annotation.Set{{Place: annotation.Manifest, Key: "a", Value: "output's"}}
	specs := []export.Spec{{Type: export.TypeOCI}, {Type: export.TypeOCI, Annotations: own}, {Type: export.TypeDocker},
		{Type: export.TypeTar}, {Type: export.TypeRegistry, Push: &export.PushSpec{}},
		{Type: export.TypeRegistry, Push: &export.PushSpec{Format: imagebuilder.Docker}}}
	var got []int
	for _, spec := range annotated(specs, set) {
		got = append(got, len(spec.Annotations))
	}
	if want := []int{1, 2, 0, 0, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("the outputs have %v annotations, want %v", got, want)
	}
	if text := annotated(specs, set)[1].Annotations.Manifest(amd64())["a"]; text != "output's" {
		t.Errorf("the one that counts is the %s", text)
	}
	if len(specs[0].Annotations) != 0 {
		t.Error("the outputs of the request have changed")
	}
}

func TestAnImageHasTheAnnotationsThatItsBaseAndItsTimeGive(t *testing.T) {
	t.Parallel()
	base := &plan.Base{Ref: "app:1", Image: imagebuilder.Base{Name: "example.test/app:1", Digest: sum,
		Annotations: map[string]string{"theirs": "1", "secret": "2"}}}
	first := &plan.Step{Op: base}
	target := &plan.Stage{Last: &plan.Step{Parent: first}}
	scratch := &plan.Stage{Last: &plan.Step{Op: &plan.Base{}}}
	name, date := "org.opencontainers.image.base.name", "org.opencontainers.image.created"
	when := time.Unix(1_000_000_000, 5).In(time.FixedZone("elsewhere", 3600))
	for what, test := range map[string]struct {
		o     ImageOptions
		stage *plan.Stage
		want  map[string]string
	}{
		"nothing":    {ImageOptions{}, target, nil},
		"its base's": {ImageOptions{InheritAnnotations: true}, target, map[string]string{"theirs": "1", "secret": "2"}},
		"some": {ImageOptions{InheritAnnotations: true, UnsetAnnotations: []string{"secret", "none"}}, target,
			map[string]string{"theirs": "1"}},
		"its base": {ImageOptions{BaseAnnotations: true}, target, map[string]string{name: "example.test/app:1",
			"org.opencontainers.image.base.digest": sum.String()}},
		"no base":       {ImageOptions{BaseAnnotations: true, InheritAnnotations: true}, scratch, nil},
		"its time":      {ImageOptions{DateAnnotation: true}, scratch, map[string]string{date: "2001-09-09T01:46:40Z"}},
		"all taken out": {ImageOptions{DateAnnotation: true, UnsetAnnotations: []string{date}}, scratch, nil},
	} {
		if diff := cmp.Diff(test.want, test.o.annotations(test.stage, when)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

// pushing is a room whose build pushes its image.
func pushing(t *testing.T, targets func(r *room) []*plan.Stage, specs ...export.Spec) (*room, []*plan.Stage) {
	t.Helper()
	registrytest.Home(t, "")
	r := newRoom(t, Options{Specs: specs, Format: imagebuilder.OCI})
	stages := targets(r)
	r.Pushes = NewPushes(t.Context(), PushesOptions{Layers: r.Depot.Store, Origins: r.Depot.Images, Cache: r.Cache,
		Blobs: r.Blobs, Registry: registry.Options{Insecure: true}, Specs: specs, Shown: r.Room.Shown}, stages)
	return r, stages
}

func pushTo(names ...string) export.Spec {
	return export.Spec{Type: export.TypeRegistry, Names: names, Push: &export.PushSpec{}}
}

func TestAnImageIsPushedWhenItIsMade(t *testing.T) {
	s := registrytest.New(t)
	name := s.Host() + "/lib/app"
	var other *plan.Stage // the image doesn't have it
	r, stages := pushing(t, func(r *room) []*plan.Stage {
		other = r.stage(t, run("other", "b=1"))
		return []*plan.Stage{r.stage(t, run("one", "a=1"))}
	}, pushTo(name+":1", name+":2"), pushTo(s.Host()+"/team/app:1"))
	r.Pushes.Sealed(other.Last, r.roots[other.Last.ID].Layers()[0])
	for _, l := range r.roots[len(r.roots)-1].Layers() {
		r.Pushes.Sealed(stages[0].Last, l)
	}
	r.Pushes.running.Wait()
	early := len(s.Requests("PUT"))
	made := r.finish(t, []string{"localhost/app:1"}, stages...)
	r.Pushes.Close(t.Context(), nil)
	if early != 1 { // the other repository of the registry mounts it
		t.Errorf("the layer was sent %d times before the image was made", early)
	}
	for _, path := range []string{"lib/app/manifests/1", "lib/app/manifests/2", "team/app/manifests/1"} {
		if m := s.Manifest(path); m == nil || digest.FromBytes(s.Content(path)) != made.Manifest || len(m.Layers) != 1 {
			t.Errorf("%s is %+v, want %s", path, m, made.Manifest)
		}
	}
	for _, want := range []string{"pushing " + name + ":1, " + name + ":2", "pushing " + s.Host() + "/team/app:1"} {
		if !strings.Contains(r.Build.Shown.Text(), want) {
			t.Errorf("%q isn't shown:\n%s", want, r.Build.Shown.Text())
		}
	}
}

func TestSeveralPlatformsArePushedAsAnIndex(t *testing.T) {
	s := registrytest.New(t)
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	r, stages := pushing(t, func(r *room) []*plan.Stage {
		return []*plan.Stage{r.stage(t, run("one", "a=1")), r.stageFor(t, imagebuilder.Image{Platform: arm},
			run("two", "a=2"))}
	}, pushTo(s.Host()+"/lib/app:1"))
	r.finish(t, nil, stages...)
	r.Pushes.Close(t.Context(), nil)
	index := s.Index("lib/app/manifests/1")
	if index == nil || len(index.Manifests) != 2 || index.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("pushed %+v", index)
	}
}

// TestAPushThatFailsLeavesTheImageWithoutItsName, as every output does.
func TestAPushThatFailsLeavesTheImageWithoutItsName(t *testing.T) {
	s := registrytest.New(t)
	s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	r, stages := pushing(t, func(r *room) []*plan.Stage { return []*plan.Stage{r.stage(t, run("one", "a=1"))} },
		pushTo(s.Host()+"/lib/app:1"))
	_, err := r.Finish(t.Context(), stages, r.roots, []string{"localhost/app:1"})
	r.Pushes.Close(t.Context(), err)
	if err == nil || !strings.Contains(err.Error(), s.Host()+"/lib/app") {
		t.Errorf("got %v", err)
	}
	if _, err := r.Depot.Images.Find(t.Context(), "localhost/app:1"); err == nil {
		t.Error("the image has its name")
	}
	if strings.Contains(r.Build.Shown.Text(), "tagged") {
		t.Errorf("shown: %s", r.Build.Shown.Text())
	}
}

func TestAPushToNoNameIsTold(t *testing.T) {
	r, stages := pushing(t, func(r *room) []*plan.Stage { return []*plan.Stage{r.stage(t, run("one", "a=1"))} },
		pushTo())
	for _, l := range r.roots[len(r.roots)-1].Layers() {
		r.Pushes.Sealed(stages[0].Last, l) // nobody hears of an error here, but later
	}
	_, err := r.Finish(t.Context(), stages, r.roots, nil)
	if err == nil || !strings.Contains(err.Error(), "there is no name to push to") {
		t.Errorf("got %v", err)
	}
	r.Pushes.Close(t.Context(), err)
}

// TestABuildWithoutAPushHasNone and may be asked all the same.
func TestABuildWithoutAPushHasNone(t *testing.T) {
	t.Parallel()
	none := NewPushes(t.Context(), PushesOptions{Specs: []export.Spec{{Type: export.TypeOCI}}}, nil)
	if none != nil {
		t.Errorf("%+v", none)
	}
	none.Close(t.Context(), errors.New("the build has failed"))
}

// TestABuildThatFailsCancelsItsPush while a layer is under way.
func TestABuildThatFailsCancelsItsPush(t *testing.T) {
	s := registrytest.New(t)
	arrived, ended := make(chan struct{}), make(chan struct{})
	s.Refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			close(arrived)
			<-r.Context().Done()
			close(ended)
		}
		return false
	}
	r, stages := pushing(t, func(r *room) []*plan.Stage { return []*plan.Stage{r.stage(t, run("one", "a=1"))} },
		pushTo(s.Host()+"/lib/app:1"))
	r.Pushes.Sealed(stages[0].Last, r.roots[len(r.roots)-1].Layers()[0])
	<-arrived
	r.Pushes.Close(context.WithoutCancel(t.Context()), errors.New("a step has failed"))
	<-ended
	if strings.Contains(r.Build.Shown.Text(), "a step has failed") {
		t.Errorf("the push is shown as what failed: %s", r.Build.Shown.Text())
	}
}
