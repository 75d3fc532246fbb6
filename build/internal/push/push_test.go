package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// server is a registry in memory without TLS.
type server struct {
	*httptest.Server
	// refuse may answer a request instead, and tells whether it has.
	refuse func(w http.ResponseWriter, r *http.Request) bool

	mu sync.Mutex
	// content is by path; asked are the requests in order.
	content map[string][]byte
	asked   []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{content: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	if s.refuse != nil && s.refuse(w, r) {
		return
	}
	repo, _, upload := strings.Cut(r.URL.Path, "blobs/uploads/")
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Get("mount") != "":
		text, ok := s.content["/v2/"+query.Get("from")+"/blobs/"+query.Get("mount")]
		if ok {
			s.content[repo+"blobs/"+query.Get("mount")] = text
			w.WriteHeader(http.StatusCreated)
			return
		}
		fallthrough
	case r.Method == http.MethodPost:
		w.Header().Set("Location", r.URL.Path+"1")
		w.WriteHeader(http.StatusAccepted)
	case upload && r.Method == http.MethodPut:
		text, _ := io.ReadAll(r.Body)
		s.content[repo+"blobs/"+query.Get("digest")] = text
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		text, _ := io.ReadAll(r.Body)
		s.content[r.URL.Path] = text
		w.WriteHeader(http.StatusCreated)
	default:
		text, ok := s.content[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(text).String())
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = w.Write(text)
	}
}

// requests are those since the last call, of all methods or of one.
func (s *server) requests(method string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		if strings.HasPrefix(r, method) {
			all = append(all, r)
		}
	}
	s.asked = nil
	return all
}

// manifest reads a manifest of the server, nil if there is none.
func (s *server) manifest(path string) *ocispec.Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m ocispec.Manifest
	if json.Unmarshal(s.content["/v2/"+path], &m) != nil {
		return nil
	}
	return &m
}

// index reads an index of the server.
func (s *server) index(path string) (index ocispec.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.Unmarshal(s.content["/v2/"+path], &index)
	return index
}

// origins says that blobs came from an image, and gives them.
type origins struct {
	of    reference.Reference
	blobs map[digest.Digest][]byte
}

func (o origins) Origins(digest.Digest) ([]reference.Reference, error) {
	return []reference.Reference{o.of}, nil
}

func (o origins) FetchBlob(_ context.Context, _ reference.Reference, d ocispec.Descriptor) (io.ReadCloser, error) {
	text, ok := o.blobs[d.Digest]
	if !ok {
		return nil, errors.New("gone")
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// setUp gives options for pushes to names, with a cache of the test's own.
func setUp(t *testing.T, names ...string) push.Options {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "XDG_RUNTIME_DIR": home, "DOCKER_CONFIG": "", "REGISTRY_AUTH_FILE": "",
		"CONTAINERS_REGISTRIES_CONF": filepath.Join(home, "registries.conf"),
		"CONTAINERS_POLICY_JSON":     filepath.Join(home, "policy.json"),
	} {
		t.Setenv(name, value)
	}
	for name, text := range map[string]string{"registries.conf": "",
		"policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}`} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client, err := registry.NewClient(registry.Options{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c, err := cache.Open(filepath.Join(home, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return push.Options{Client: client, To: refs(t, names...), Codec: export.Codec{Kind: export.Gzip}, Cache: c,
		Spool: func() (*os.File, error) { return os.CreateTemp(home, "spool") }}
}

func refs(t *testing.T, names ...string) (all []reference.Reference) {
	t.Helper()
	for _, name := range names {
		r, err := reference.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// opened counts how often layers are read.
type opened struct{ n int }

func (o *opened) layer(text string) export.Blob {
	return export.Blob{ID: text, DiffID: digest.FromString(text), Size: int64(len(text)),
		Open: func() (io.ReadCloser, error) {
			o.n++
			return io.NopCloser(strings.NewReader(text)), nil
		}}
}

func image(layers ...export.Blob) push.Image {
	var ids []string
	for _, l := range layers {
		ids = append(ids, fmt.Sprintf("%q", l.DiffID))
	}
	return push.Image{Format: imagebuilder.OCI, Image: export.Image{Layers: layers,
		Config: fmt.Appendf(nil, `{"rootfs":{"type":"layers","diff_ids":[%s]}}`, strings.Join(ids, ","))}}
}

// run pushes and tags.
func run(t *testing.T, o push.Options, src push.Source) (*push.Sent, error) {
	t.Helper()
	p, err := push.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Send(t.Context(), src)
	if err != nil {
		return nil, err
	}
	return s, s.Tag(t.Context())
}

func mustRun(t *testing.T, o push.Options, src push.Source) *push.Sent {
	t.Helper()
	s, err := run(t, o, src)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnUnchangedImageIsAskedForOnceAndNotRead(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1")
	var reads opened
	src := push.Source{Images: []push.Image{image(reads.layer("one"), reads.layer("two"), reads.layer("one"))}}
	first := mustRun(t, o, src)
	if first.Unchanged || reads.n != 2 || len(s.manifest("lib/app/manifests/1").Layers) != 3 {
		t.Errorf("pushed %+v after %d reads", s.manifest("lib/app/manifests/1"), reads.n)
	}
	s.requests("")
	again := mustRun(t, o, src)
	if all := s.requests(""); !again.Unchanged || again.Manifest().Digest != first.Manifest().Digest || reads.n != 2 ||
		!slices.Equal(all, []string{"HEAD /v2/lib/app/manifests/1"}) {
		t.Errorf("once more: %q and %d reads", all, reads.n)
	}
	src.Images[0] = image(reads.layer("one"), reads.layer("three"))
	mustRun(t, o, src)
	if reads.n != 3 {
		t.Errorf("%d reads: a layer was compressed once more", reads.n)
	}
}

func TestNothingIsNamedBeforeAllIsThere(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1", s.host()+"/lib/app:2", s.host()+"/team/app:1")
	var reads opened
	mustRun(t, o, push.Source{Images: []push.Image{image(reads.layer("one")), image(reads.layer("two"))},
		Index: &push.Index{Format: imagebuilder.OCI}})
	all := s.requests("PUT")
	want := []string{"PUT /v2/lib/app/manifests/1", "PUT /v2/lib/app/manifests/2", "PUT /v2/team/app/manifests/1"}
	if !slices.Equal(all[len(all)-3:], want) || slices.ContainsFunc(all[:len(all)-3], func(r string) bool {
		return slices.Contains(want, r)
	}) {
		t.Errorf("sent in the order %q", all)
	}
	if n := len(slices.DeleteFunc(all, func(r string) bool { return !strings.Contains(r, "/team/app/blobs/") })); n != 0 {
		t.Errorf("%d blobs were sent that could be mounted", n)
	}
	s.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
		if refused {
			w.WriteHeader(http.StatusForbidden)
		}
		return refused
	}
	o.To = refs(t, s.host()+"/lib/app:3")
	if _, err := run(t, o, push.Source{Images: []push.Image{image(reads.layer("three"))}}); err == nil ||
		!strings.Contains(err.Error(), "lib/app") || s.manifest("lib/app/manifests/3") != nil {
		t.Errorf("a push that is refused: %v", err)
	}
}

func TestAPushByDigestHasNoTag(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1")
	o.ByDigest, o.Annotations = true, annotation.Set{{Place: annotation.Manifest, Key: "a", Value: "b"}}
	var reads opened
	got := mustRun(t, o, push.Source{Images: []push.Image{image(reads.layer("one"))}}).Manifest()
	m := s.manifest("lib/app/manifests/" + got.Digest.String())
	if m == nil || m.Annotations["a"] != "b" || s.manifest("lib/app/manifests/1") != nil {
		t.Errorf("pushed %+v", m)
	}
}

func TestAnnotationsAreWhereTheyBelong(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1")
	var reads opened
	arm, amd := image(reads.layer("arm")), image(reads.layer("amd"))
	arm.Platform = ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	amd.Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm.Entry = ocispec.Descriptor{Platform: &arm.Platform, Annotations: map[string]string{"old": "1"}}
	amd.Entry.Platform = &amd.Platform
	src := push.Source{Images: []push.Image{arm, amd}, Index: &push.Index{Format: imagebuilder.OCI}}
	plain := mustRun(t, o, src).Manifest()
	src.Index.Text = s.content["/v2/lib/app/manifests/1"]
	for i := range src.Images {
		src.Images[i].Text = s.content["/v2/lib/app/manifests/"+s.index("lib/app/manifests/1").Manifests[i].Digest.String()]
	}
	for text, want := range map[string]string{
		"a=b":                       "index map[] [map[old:1] map[]] [map[a:b] map[a:b]]",
		"manifest[linux/arm64]:a=b": "index map[] [map[old:1] map[]] [map[a:b] map[]]",
		"index:a=b":                 "index map[a:b] [map[old:1] map[]] [map[] map[]]",
		"manifest-descriptor:a=b":   "index map[] [map[a:b old:1] map[a:b]] [map[] map[]]",
		"index-descriptor:a=b":      "index map[] [map[old:1] map[]] [map[] map[]]",
		"manifest-descriptor[linux/amd64],index:a=b": "index map[a:b] [map[old:1] map[a:b]] [map[] map[]]",
	} {
		var err error
		if o.Annotations, err = annotation.OfFlag(text); err != nil {
			t.Fatal(err)
		}
		d := mustRun(t, o, src).Manifest()
		index := s.index("lib/app/manifests/1")
		var entries, manifests []map[string]string
		for _, e := range index.Manifests {
			entries = append(entries, e.Annotations)
			manifests = append(manifests, s.manifest("lib/app/manifests/"+e.Digest.String()).Annotations)
		}
		if got := fmt.Sprint("index ", index.Annotations, " ", entries, " ", manifests); got != want {
			t.Errorf("%s: got %s, not %s", text, got, want)
		}
		if same := d.Digest == plain.Digest; same != strings.HasPrefix(text, "index-descriptor") {
			t.Errorf("%s: the index stayed as it is: %t", text, same)
		}
	}
}

func TestLayersOfABaseLeaveAsTheyCame(t *testing.T) {
	blob := []byte("as it came")
	came := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerZstd, Digest: digest.FromBytes(blob),
		Size: int64(len(blob))}
	for _, c := range []struct {
		name string
		// at is where the blob is: path of a repository, "origin" or nowhere.
		at    string
		force bool
		// kept says that it leaves as it came, sent that it had to be sent, read that the layer was compressed.
		kept, sent, read bool
	}{
		{name: "there already", at: "lib/app", kept: true},
		{name: "in the base's repository", at: "lib/base", kept: true},
		{name: "in another registry", at: "origin", kept: true, sent: true},
		{name: "nowhere any more", sent: true, read: true},
		{name: "to be compressed otherwise", at: "lib/app", force: true, sent: true, read: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			o := setUp(t, s.host()+"/lib/app:1")
			from := origins{of: refs(t, s.host()+"/lib/base")[0], blobs: map[digest.Digest][]byte{}}
			o.Origin, o.Force = from, c.force
			switch c.at {
			case "origin":
				from.blobs[came.Digest] = blob
			case "":
			default:
				s.content["/v2/"+c.at+"/blobs/"+came.Digest.String()] = blob
			}
			var reads opened
			base := reads.layer("base")
			base.Came = came
			mustRun(t, o, push.Source{Images: []push.Image{image(base)}})
			got := s.manifest("lib/app/manifests/1").Layers[0]
			if kept := got.Digest == came.Digest && got.MediaType == came.MediaType; kept != c.kept || (reads.n > 0) != c.read {
				t.Errorf("it is %+v, after %d reads", got, reads.n)
			}
			blobs := len(slices.DeleteFunc(s.requests("PUT"), func(r string) bool { return !strings.Contains(r, "/blobs/") }))
			if sent := blobs == 2; sent != c.sent { // the config is the other
				t.Errorf("%d blobs were sent", blobs)
			}
		})
	}
}

func TestAManifestThatFitsStaysAsItIs(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1")
	var reads opened
	img := image(reads.layer("one"))
	first := mustRun(t, o, push.Source{Images: []push.Image{img}})
	text := append(bytes.TrimSuffix(s.content["/v2/lib/app/manifests/1"], []byte("}")), ` , "annotations":{"k":"v"}}`...)
	img.Text = text
	if got := mustRun(t, o, push.Source{Images: []push.Image{img}}).Manifest(); got.Digest != digest.FromBytes(text) ||
		got.Digest == first.Manifest().Digest {
		t.Errorf("pushed %+v", got)
	}
	o.Format = imagebuilder.Docker
	mustRun(t, o, push.Source{Images: []push.Image{img}})
	if m := s.manifest("lib/app/manifests/1"); m.MediaType != imagebuilder.TypeDockerManifest ||
		m.Layers[0].MediaType != imagebuilder.TypeDockerLayer+".gzip" || m.Annotations != nil {
		t.Errorf("in Docker's format it is %+v", m)
	}
	o.Format, img.Format, o.Codec.Kind = "", imagebuilder.Docker, export.Zstd
	mustRun(t, o, push.Source{Images: []push.Image{img}})
	if m := s.manifest("lib/app/manifests/1"); m.MediaType != ocispec.MediaTypeImageManifest ||
		m.Layers[0].MediaType != ocispec.MediaTypeImageLayerZstd || m.Annotations["k"] != "v" {
		t.Errorf("with zstd it is %+v", m)
	}
}

func TestALayerThatIsNotWhatItSaysIsNotPushed(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1")
	var reads opened
	wrong := reads.layer("one")
	wrong.DiffID = digest.FromString("other")
	if _, err := run(t, o, push.Source{Images: []push.Image{image(wrong)}}); !errors.Is(err, export.ErrDigest) ||
		s.manifest("lib/app/manifests/1") != nil {
		t.Errorf("%v", err)
	}
}

func TestAPushEndsWithItsContext(t *testing.T) {
	s := newServer(t)
	o := setUp(t, s.host()+"/lib/app:1")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	s.refuse = func(http.ResponseWriter, *http.Request) bool { cancel(cause); return false }
	p, err := push.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var reads opened
	if _, err := p.Send(ctx, push.Source{Images: []push.Image{image(reads.layer("one"))}}); !errors.Is(err, cause) ||
		s.manifest("lib/app/manifests/1") != nil {
		t.Errorf("%v", err)
	}
}
