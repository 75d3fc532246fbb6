package push_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// refusing answers requests of a method whose path has a text with a status, a number of times; -1: always.
func refusing(method, path string, status, times int) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != method || !strings.Contains(r.URL.Path, path) || times == 0 {
			return false
		}
		times--
		w.WriteHeader(status)
		return true
	}
}

// count is how many requests have all of the texts.
func count(all []string, texts ...string) (n int) {
	for _, r := range all {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(r, text) }) {
			n++
		}
	}
	return n
}

func TestAPushToNowhereIsRefused(t *testing.T) {
	o := setUp(t)
	if _, err := push.New(o); err == nil || err.Error() != "push: there is no name to push to" {
		t.Errorf("got %v", err)
	}
}

// TestAnImageThatIsNotWholeIsNotPushed has a config that tells of other layers.
func TestAnImageThatIsNotWholeIsNotPushed(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	for name, change := range map[string]func(i *push.Image){
		"fewer layers": func(i *push.Image) { i.Layers = i.Layers[:1] },
		"others":       func(i *push.Image) { i.Layers[0] = reads.layer("other") },
		"no config":    func(i *push.Image) { i.Config = []byte("{") },
	} {
		img := image(reads.layer("one"), reads.layer("two"))
		change(&img)
		if _, err := run(t, o, push.Source{Images: []push.Image{img}}); err == nil ||
			!strings.HasPrefix(err.Error(), "push image: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all := s.Requests("PUT"); len(all) > 0 || s.Content("lib/app/manifests/1") != nil {
		t.Errorf("sent: %q", all)
	}
}

// TestALayerIsSentOnceWhoeverAsksForIt at once.
func TestALayerIsSentOnceWhoeverAsksForIt(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	p, err := push.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var reads opened
	var group sync.WaitGroup
	got := make([]ocispec.Descriptor, 16)
	for i := range got {
		group.Go(func() {
			var err error
			if got[i], err = p.Layer(t.Context(), reads.layer([]string{"one", "two"}[i%2])); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i, d := range got {
		if d.Digest != got[i%2].Digest || d.Digest == got[(i+1)%2].Digest ||
			d.Size != int64(len(s.Content("lib/app/blobs/"+d.Digest.String()))) {
			t.Errorf("%d is %+v", i, d)
		}
	}
	if n := count(s.Requests("PUT"), "/blobs/"); n != 2 || reads.n != 2 {
		t.Errorf("%d blobs were sent after %d reads", n, reads.n)
	}
}

// TestWhatWillNotPassIsNotTriedAgain is refused by the registry, at each of the steps of a push.
func TestWhatWillNotPassIsNotTriedAgain(t *testing.T) {
	for name, refused := range map[string][2]string{
		"a tag":      {http.MethodPut, "/manifests/1"},
		"a manifest": {http.MethodPut, "/manifests/sha256:"},
		"an upload":  {http.MethodPost, "/blobs/uploads/"},
		"a blob":     {http.MethodPut, "/blobs/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			o := setUp(t, s.Host()+"/lib/app:1")
			o.Retries = registry.Retries{Times: 2, Delay: time.Millisecond}
			o.Again = func(_ time.Duration, err error) { t.Errorf("tried again after %v", err) }
			s.Refuse = refusing(refused[0], refused[1], http.StatusForbidden, -1)
			var reads opened
			src := push.Source{Images: []push.Image{image(reads.layer("one"))}}
			if name == "a manifest" {
				src.Index = &push.Index{Format: imagebuilder.OCI}
			}
			_, err := run(t, o, src)
			if err == nil || !strings.Contains(err.Error(), s.Host()+"/lib/app") {
				t.Errorf("got %v", err)
			}
			if s.Manifest("lib/app/manifests/1") != nil || len(s.Uploads()) > 0 {
				t.Errorf("a tag is there, or left open: %q", s.Uploads())
			}
		})
	}
}

// TestAManifestThatLeadsElsewhereIsMadeAnew: its blobs would be fetched from where it says.
func TestAManifestThatLeadsElsewhereIsMadeAnew(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	img := image(reads.layer("one"))
	mustRun(t, o, push.Source{Images: []push.Image{img}})
	text := string(s.Content("lib/app/manifests/1"))
	m := s.Manifest("lib/app/manifests/1")
	size := fmt.Sprintf(`"digest":%q,"size":%d`, m.Layers[0].Digest, m.Layers[0].Size)
	if !strings.Contains(text, size) {
		t.Fatalf("the manifest is %s", text)
	}
	for name, wrong := range map[string]string{
		"with a place":        strings.Replace(text, size, size+`,"urls":["http://example.test/blob"]`, 1),
		"with another size":   strings.Replace(text, size, fmt.Sprintf(`"digest":%q,"size":%d`, m.Layers[0].Digest, 1), 1),
		"with another layer":  strings.Replace(text, m.Layers[0].Digest.String(), digest.FromString("x").String(), 1),
		"with another config": strings.Replace(text, m.Config.Digest.String(), digest.FromString("x").String(), 1),
		"of no JSON":          "{",
		"of another type":     strings.Replace(text, ocispec.MediaTypeImageManifest, imagebuilder.TypeDockerManifest, 1),
	} {
		img.Text = []byte(wrong)
		mustRun(t, o, push.Source{Images: []push.Image{img}})
		if got := string(s.Content("lib/app/manifests/1")); got != text {
			t.Errorf("%s: pushed %s", name, got)
		}
	}
}

// TestAnIndexThatNamesOtherManifestsIsMadeAnew, and one that fits isn't.
func TestAnIndexThatNamesOtherManifestsIsMadeAnew(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	arm, amd := image(reads.layer("arm")), image(reads.layer("amd"))
	arm.Entry.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	amd.Entry.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	both := push.Source{Images: []push.Image{arm, amd}, Index: &push.Index{Format: imagebuilder.OCI}}
	mustRun(t, o, both)
	text := s.Content("lib/app/manifests/1")
	both.Index.Text = append([]byte(" "), text...) // in other words
	if got := mustRun(t, o, both).Manifest(); got.Digest != digest.FromBytes(both.Index.Text) {
		t.Errorf("the index that it has became %s", s.Content("lib/app/manifests/1"))
	}
	both.Images = both.Images[:1]
	mustRun(t, o, both)
	if index := s.Index("lib/app/manifests/1"); len(index.Manifests) != 1 ||
		index.Manifests[0].Platform.Architecture != "arm64" {
		t.Errorf("with one image it is %+v", index)
	}
	both.Images = []push.Image{amd, arm}
	mustRun(t, o, both)
	if index := s.Index("lib/app/manifests/1"); len(index.Manifests) != 2 ||
		index.Manifests[0].Platform.Architecture != "amd64" {
		t.Errorf("in another order it is %+v", index)
	}
	o.Format = imagebuilder.Docker
	mustRun(t, o, both)
	if index := s.Index("lib/app/manifests/1"); index.MediaType != imagebuilder.Docker.Index() ||
		index.Manifests[0].MediaType != imagebuilder.TypeDockerManifest {
		t.Errorf("in docker's format it is %+v", index)
	}
}

func TestAPushByDigestThatIsThereSendsNothing(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	o.ByDigest = true
	var reads opened
	src := push.Source{Images: []push.Image{image(reads.layer("one"))}}
	first := mustRun(t, o, src)
	s.Requests("")
	again := mustRun(t, o, src)
	if want := []string{"HEAD /v2/lib/app/manifests/" + first.Manifest().Digest.String()}; first.Unchanged ||
		!again.Unchanged ||
		!slices.Equal(s.Requests(""), want) {
		t.Errorf("unchanged: %t, then %t", first.Unchanged, again.Unchanged)
	}
}

// TestWhatIsNotCompressedIsKnownBeforehand: its blob is the layer itself.
func TestWhatIsNotCompressedIsKnownBeforehand(t *testing.T) {
	s := registrytest.New(t)
	o := as(t, setUp(t, s.Host()+"/lib/app:1"), export.Spec{Type: export.TypeRegistry, Compression: export.Uncompressed})
	var reads opened
	src := push.Source{Images: []push.Image{image(reads.layer("one"))}}
	mustRun(t, o, src)
	layer := s.Manifest("lib/app/manifests/1").Layers[0]
	if layer.Digest != digest.FromString("one") || layer.MediaType != ocispec.MediaTypeImageLayer ||
		string(s.Content("lib/app/blobs/"+layer.Digest.String())) != "one" {
		t.Errorf("it is %+v", layer)
	}
	o = as(t, setUp(t, s.Host()+"/lib/app:1"), export.Spec{Type: export.TypeRegistry, Compression: export.Uncompressed})
	if again := mustRun(t, o, src); !again.Unchanged || reads.n != 1 {
		t.Errorf("by somebody who remembers nothing: unchanged %t after %d reads", again.Unchanged, reads.n)
	}
}

// TestABlobIsMountedFromWhereItWasSent, in a registry that can do that.
func TestABlobIsMountedFromWhereItWasSent(t *testing.T) {
	s, other := registrytest.New(t), registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/one:1")
	var reads opened
	src := push.Source{Images: []push.Image{image(reads.layer("one"))}}
	mustRun(t, o, src)
	layer := s.Manifest("lib/one/manifests/1").Layers[0].Digest.String()
	s.Requests("")
	o.To = registrytest.References(t, s.Host()+"/lib/two:1")
	mustRun(t, o, src)
	if all := s.Requests("PUT"); count(all, "/blobs/") != 0 || s.Content("lib/two/blobs/"+layer) == nil {
		t.Errorf("in another repository: %q", all)
	}
	// Another registry knows nothing of it.
	o.To = registrytest.References(t, other.Host()+"/lib/two:1")
	mustRun(t, o, src)
	if all := other.Requests("PUT"); count(all, "/blobs/") != 2 || reads.n != 1 {
		t.Errorf("in another registry: %q after %d reads", all, reads.n)
	}
	// What the record says may be gone.
	for _, repo := range []string{"lib/one", "lib/two"} {
		s.Set(repo+"/blobs/"+layer, nil)
	}
	o.To = registrytest.References(t, s.Host()+"/lib/three:1")
	mustRun(t, o, src)
	if s.Content("lib/three/blobs/"+layer) == nil || len(s.Uploads()) > 0 {
		t.Errorf("when it is gone: %q", s.Uploads())
	}
}

func TestWhatWasSentIsTold(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var mu sync.Mutex
	told := map[string][2]int64{}
	o.Progress = func(what string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		told[what] = [2]int64{done, total}
	}
	var reads opened
	mustRun(t, o, push.Source{Images: []push.Image{image(reads.layer("one"))}})
	m := s.Manifest("lib/app/manifests/1")
	for _, d := range []ocispec.Descriptor{m.Config, m.Layers[0]} {
		what := s.Host() + "/lib/app " + d.Digest.Encoded()[:12]
		if got := told[what]; got != [2]int64{d.Size, d.Size} {
			t.Errorf("%s: told %v of %v", what, got, told)
		}
	}
}

// TestOneRegistryThatFailsKeepsTheOthersTags back: all get their tags, or none.
func TestOneRegistryThatFailsKeepsTheOthersTagsBack(t *testing.T) {
	s, bad := registrytest.New(t), registrytest.New(t)
	bad.Refuse = refusing(http.MethodPost, "/blobs/uploads/", http.StatusForbidden, -1)
	o := setUp(t, s.Host()+"/lib/app:1", bad.Host()+"/lib/app:1")
	var reads opened
	_, err := run(t, o, push.Source{Images: []push.Image{image(reads.layer("one"))}})
	if err == nil || !strings.Contains(err.Error(), bad.Host()) {
		t.Errorf("got %v", err)
	}
	if s.Content("lib/app/manifests/1") != nil || len(s.Uploads()) > 0 || len(bad.Uploads()) > 0 {
		t.Errorf("a tag was set, or left open: %q, %q", s.Uploads(), bad.Uploads())
	}
}
