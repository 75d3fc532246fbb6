package sendimage

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// heard is what was told of a push.
type heard struct {
	texts []string
	tell  func()
}

func (h *heard) Emit(e progress.Event) {
	if n, is := e.(progress.Note); is {
		h.texts = append(h.texts, n.Text)
		if h.tell != nil {
			h.tell()
		}
	}
}

// shop is a store with images and a registry that they go to.
type shop struct {
	*registrytest.Server
	session *session.Session
	// settings are those of the session.
	settings session.Options
	heard    heard
}

// open makes a store, has fill put images into it, and gives a session for it. The caller has configured the test.
func open(t *testing.T, fill func(s *shop, put func(platform string, names ...string) (id string),
	index func(name string, ids ...string))) *shop {
	t.Helper()
	s := &shop{Server: registrytest.New(t)}
	o := store.Options{Root: t.TempDir(), RunRoot: t.TempDir(), Driver: "overlay"}
	t.Run("images", func(t *testing.T) { // the store is closed at its end
		d := storetest.Open(t, o)
		layers := storetest.Stack(t, d, "", "one", "two")
		put := func(platform string, names ...string) string {
			p := platforms.MustParse(platform)
			config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers"}}
			for _, l := range layers {
				config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
			}
			raw, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			id, _, err := d.Images.Put(t.Context(), images.Record{Config: raw, Layers: layers, Names: names, Keep: true})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		index := func(name string, ids ...string) {
			record := images.IndexRecord{Names: []string{name}, Format: imagebuilder.OCI}
			for i, id := range ids {
				record.Images = append(record.Images, images.IndexedImage{ID: id,
					Platform: platforms.MustParse([]string{"linux/amd64", "linux/arm64"}[i])})
			}
			if _, err := d.Images.PutIndex(t.Context(), record); err != nil {
				t.Fatal(err)
			}
		}
		fill(s, put, index)
	})
	s.settings = session.Options{Store: o, Registry: session.Registry{Insecure: true, FirstPause: time.Millisecond}}
	s.session = session.New(s.settings)
	t.Cleanup(func() {
		if err := s.session.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// app is a shop with the image localhost/app:1.
func app(t *testing.T) *shop {
	t.Helper()
	return open(t, func(_ *shop, put func(string, ...string) string, _ func(string, ...string)) {
		put("linux/amd64", "localhost/app:1")
	})
}

// retries has pushes tried again.
func (s *shop) retries(r registry.Retries) {
	s.settings.Registry.Retries = r
	s.session = session.New(s.settings)
}

func (s *shop) push(ctx context.Context, req Request) (Pushed, error) {
	req.Spec = export.Spec{Type: export.TypeRegistry, Push: &export.PushSpec{}}
	req.Progress = &s.heard
	return Push(ctx, s.session, req)
}

// refuses answers a number of requests whose method and path have texts in them with a status.
func (s *shop) refuses(times, status int, texts ...string) {
	s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
		for _, text := range texts {
			if !strings.Contains(r.Method+" "+r.URL.Path, text) {
				return false
			}
		}
		if times--; times < 0 {
			return false
		}
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		return true
	}
}

func TestAnImageGoesToAllItsDestinations(t *testing.T) {
	registrytest.Home(t, "")
	s := app(t)
	to := []string{s.Host() + "/lib/app:1", s.Host() + "/lib/app", s.Host() + "/team/app:1"}
	res, err := s.push(t.Context(), Request{Image: "app:1", To: append(to, to[0])})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{to[0], to[1] + ":latest", to[2]} // what is said twice is pushed once
	if !slices.Equal(res.Names, want) || len(res.Manifests) != 3 {
		t.Errorf("pushed %v", res)
	}
	for i, path := range []string{"lib/app/manifests/1", "lib/app/manifests/latest", "team/app/manifests/1"} {
		text := s.Content(path)
		if digest.FromBytes(text) != res.Manifests[i] || len(s.Manifest(path).Layers) != 2 {
			t.Errorf("%s is %s", path, text)
		}
	}
	if left := s.Uploads(); len(left) > 0 {
		t.Errorf("uploads are left open: %q", left)
	}
}

func TestWithoutADestinationAnImageGoesWhereItsNameSays(t *testing.T) {
	registrytest.Home(t, "")
	s := open(t, func(s *shop, put func(string, ...string) string, _ func(string, ...string)) {
		put("linux/amd64", s.Host()+"/lib/app:1", s.Host()+"/lib/app:2", s.Host()+"/lib/other:1")
		put("linux/arm64", "localhost/app:1")
	})
	res, err := s.push(t.Context(), Request{Image: s.Host() + "/lib/app:1"})
	if err != nil || !slices.Equal(res.Names, []string{s.Host() + "/lib/app:1"}) ||
		s.Content("lib/app/manifests/2") != nil {
		t.Errorf("pushed %v, %v", res.Names, err)
	}
	res, err = s.push(t.Context(), Request{Image: s.Host() + "/lib/app", AllTags: true})
	slices.Sort(res.Names)
	if err != nil || !slices.Equal(res.Names, []string{s.Host() + "/lib/app:1", s.Host() + "/lib/app:2"}) ||
		s.Content("lib/other/manifests/1") != nil {
		t.Errorf("all tags: pushed %v, %v", res.Names, err)
	}
	to := s.Host() + "/by/id:1"
	res, err = s.push(t.Context(), Request{Image: s.id(t), To: []string{to}})
	if err != nil || !slices.Equal(res.Names, []string{to}) || s.Content("by/id/manifests/1") == nil {
		t.Errorf("by its ID: pushed %v, %v", res.Names, err)
	}
	for image, says := range map[string]string{
		"localhost/app:1":         "", // nobody listens there
		"localhost/none:1":        "localhost/none:1",
		s.Host() + "/lib/none:1":  "no such image",
		s.id(t)[:12]:              "is an ID: say the name to push it to\nhint: cooper push",
		strings.Repeat("f", 12):   "no such image",
		s.Host() + "/lib/app@bad": "app@bad",
	} {
		if _, err := s.push(t.Context(), Request{Image: image}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", image, err)
		}
	}
}

// id is the ID of the image lib/app:1 of the server.
func (s *shop) id(t *testing.T) string {
	t.Helper()
	return s.Manifest("lib/app/manifests/1").Config.Digest.Encoded()
}

func TestAnIndexGoesWithItsImagesOrOneOfThem(t *testing.T) {
	registrytest.Home(t, "")
	s := open(t, func(_ *shop, put func(string, ...string) string, index func(string, ...string)) {
		index("localhost/app:1", put("linux/amd64"), put("linux/arm64"))
		index("localhost/empty:1")
	})
	name := s.Host() + "/lib/app:"
	res, err := s.push(t.Context(), Request{Image: "app:1", To: []string{name + "all"}})
	if err != nil {
		t.Fatal(err)
	}
	index := s.Index("lib/app/manifests/all")
	if len(index.Manifests) != 2 || digest.FromBytes(s.Content("lib/app/manifests/all")) != res.Manifests[0] {
		t.Fatalf("pushed %+v", index)
	}
	for i, architecture := range []string{"amd64", "arm64"} {
		p := platforms.MustParse("linux/" + architecture)
		one := Request{Image: "app:1", To: []string{name + architecture}, Platform: &p}
		if _, err := s.push(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		d := index.Manifests[i]
		if got := digest.FromBytes(s.Content("lib/app/manifests/" + architecture)); got != d.Digest ||
			d.Platform.Architecture != architecture {
			t.Errorf("%s is %s, in the index it is %+v", architecture, got, d)
		}
	}
	if _, err := s.push(t.Context(), Request{Image: "empty:1", To: []string{name + "none"}}); err == nil ||
		!strings.Contains(err.Error(), "empty:1 has no images yet") {
		t.Errorf("an index without images: %v", err)
	}
	other := platforms.MustParse("linux/s390x")
	if _, err := s.push(t.Context(), Request{Image: "app:1", To: []string{name + "none"}, Platform: &other}); err == nil ||
		!strings.Contains(err.Error(), "image app:1: ") || s.Content("lib/app/manifests/none") != nil {
		t.Errorf("a platform that there is no image for: %v", err)
	}
}

func TestWhatMayPassIsTriedAgain(t *testing.T) {
	registrytest.Home(t, "")
	for name, test := range map[string]struct {
		times, status, retry int
		texts                []string
		fails, tries         bool
	}{
		"a registry that fails to take the tag":   {1, http.StatusInternalServerError, 1, []string{"PUT", "/manifests/1"}, false, false},
		"one that fails for a long time":          {1000, http.StatusServiceUnavailable, 1, []string{"PUT", "/manifests/1"}, true, true},
		"one that fails, and nothing is to retry": {1000, http.StatusServiceUnavailable, 0, []string{"PUT", "/manifests/1"}, true, false},
		"one that refuses":                        {1000, http.StatusForbidden, 3, []string{"PUT", "/manifests/1"}, true, false},
		"one without the repository":              {1000, http.StatusNotFound, 3, []string{"POST", "/blobs/"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := app(t)
			s.refuses(test.times, test.status, test.texts...)
			s.retries(registry.Retries{Times: test.retry, Delay: time.Millisecond})
			res, err := s.push(t.Context(), Request{Image: "app:1", To: []string{s.Host() + "/lib/app:1"}})
			if (err != nil) != test.fails || (s.Content("lib/app/manifests/1") == nil) != test.fails ||
				(len(res.Names) == 0) != test.fails {
				t.Errorf("pushed %v, %v", res.Names, err)
			}
			told := slices.DeleteFunc(s.heard.texts, func(text string) bool {
				return !strings.HasPrefix(text, "pushing once more in 1ms: ")
			})
			if want := map[bool]int{true: test.retry}[test.tries]; len(told) != want {
				t.Errorf("told %q", told)
			}
		})
	}
}

func TestAPushThatIsInterruptedIsNotTriedAgain(t *testing.T) {
	registrytest.Home(t, "")
	enough := errors.New("enough")
	for _, during := range []string{"a request", "the pause before the next try"} {
		t.Run(during, func(t *testing.T) {
			t.Parallel()
			s := app(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			s.refuses(1000, http.StatusServiceUnavailable, "PUT", "/manifests/1")
			refuse := s.Refuse
			if during == "a request" {
				s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodPut {
						cancel(enough)
					}
					return refuse(w, r)
				}
			} else {
				s.heard.tell = func() { cancel(enough) }
			}
			// The pause is too long to be waited for.
			s.retries(registry.Retries{Times: 3, Delay: time.Hour})
			res, err := s.push(ctx, Request{Image: "app:1", To: []string{s.Host() + "/lib/app:1"}})
			if !errors.Is(err, enough) || len(res.Names) > 0 || s.Content("lib/app/manifests/1") != nil {
				t.Errorf("pushed %v, %v", res.Names, err)
			}
		})
	}
}

func TestARegistryThatTakesSomethingElseIsFoundOut(t *testing.T) {
	registrytest.Home(t, "")
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"another digest for the manifest": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Docker-Content-Digest", digest.FromString("other").String())
			}
			return false
		},
		"an upload without an address": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusAccepted)
			}
			return r.Method == http.MethodPost
		},
		"an address that is none": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				w.Header().Set("Location", "file:///etc/passwd")
				w.WriteHeader(http.StatusAccepted)
			}
			return r.Method == http.MethodPost
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := app(t)
			s.Refuse = answer
			res, err := s.push(t.Context(), Request{Image: "app:1", To: []string{s.Host() + "/lib/app:1"}})
			if err == nil || len(res.Names) > 0 || !strings.Contains(err.Error(), s.Host()) {
				t.Errorf("pushed %v, %v", res.Names, err)
			}
		})
	}
}
