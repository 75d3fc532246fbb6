package push_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// origins are images that every blob came from.
type origins []reference.Reference

func (o origins) Origins(digest.Digest) ([]reference.Reference, error) { return o, nil }

// setUp gives options for pushes to names, with a cache of the test's own.
func setUp(t *testing.T, names ...string) push.Options {
	t.Helper()
	home := registrytest.Home(t, "")
	client, err := registry.NewClient(registry.Options{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c, err := cache.Open(filepath.Join(home, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	o := push.Options{Client: client, To: registrytest.References(t, names...), Cache: c,
		Spool: func() (*os.File, error) { return outfile.Unnamed(home) }}
	return as(t, o, export.Spec{Type: export.TypeRegistry})
}

// as gives the options for a push in the compression of spec, of layers that came from images.
func as(t *testing.T, o push.Options, spec export.Spec, from ...reference.Reference) push.Options {
	t.Helper()
	room := blobs.New(blobs.Options{Cache: o.Cache, Dir: filepath.Join(os.Getenv("HOME"), "remote"),
		Origins: origins(from), Registry: registry.Options{Insecure: true}, Spool: o.Spool})
	t.Cleanup(room.Close)
	o.Codec, o.Keeper, o.Origins = spec.Codec(), room.For(spec), origins(from)
	return o
}

// opened counts how often layers are read.
type opened struct {
	mu sync.Mutex
	n  int
}

func (o *opened) layer(text string) export.Blob {
	return export.Blob{ID: text, DiffID: digest.FromString(text), Size: int64(len(text)),
		Open: func() (io.ReadCloser, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
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
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	src := push.Source{Images: []push.Image{image(reads.layer("one"), reads.layer("two"), reads.layer("one"))}}
	first := mustRun(t, o, src)
	if first.Unchanged || reads.n != 2 || len(s.Manifest("lib/app/manifests/1").Layers) != 3 {
		t.Errorf("pushed %+v after %d reads", s.Manifest("lib/app/manifests/1"), reads.n)
	}
	s.Requests("")
	again := mustRun(t, o, src)
	if all := s.Requests(""); !again.Unchanged || again.Manifest().Digest != first.Manifest().Digest || reads.n != 2 ||
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
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1", s.Host()+"/lib/app:2", s.Host()+"/team/app:1")
	var reads opened
	mustRun(t, o, push.Source{Images: []push.Image{image(reads.layer("one")), image(reads.layer("two"))},
		Index: &push.Index{Format: imagebuilder.OCI}})
	all := s.Requests("PUT")
	want := []string{"PUT /v2/lib/app/manifests/1", "PUT /v2/lib/app/manifests/2", "PUT /v2/team/app/manifests/1"}
	if !slices.Equal(all[len(all)-3:], want) || slices.ContainsFunc(all[:len(all)-3], func(r string) bool {
		return slices.Contains(want, r)
	}) {
		t.Errorf("sent in the order %q", all)
	}
	if n := len(slices.DeleteFunc(all, func(r string) bool { return !strings.Contains(r, "/team/app/blobs/") })); n != 0 {
		t.Errorf("%d blobs were sent that could be mounted", n)
	}
	s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
		if refused {
			w.WriteHeader(http.StatusForbidden)
		}
		return refused
	}
	o.To = registrytest.References(t, s.Host()+"/lib/app:3")
	if _, err := run(t, o, push.Source{Images: []push.Image{image(reads.layer("three"))}}); err == nil ||
		!strings.Contains(err.Error(), "lib/app") || s.Manifest("lib/app/manifests/3") != nil {
		t.Errorf("a push that is refused: %v", err)
	}
}

func TestAPushByDigestHasNoTag(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	o.ByDigest, o.Annotations = true, annotation.Set{{Place: annotation.Manifest, Key: "a", Value: "b"}}
	var reads opened
	got := mustRun(t, o, push.Source{Images: []push.Image{image(reads.layer("one"))}}).Manifest()
	m := s.Manifest("lib/app/manifests/" + got.Digest.String())
	if m == nil || m.Annotations["a"] != "b" || s.Manifest("lib/app/manifests/1") != nil {
		t.Errorf("pushed %+v", m)
	}
}

func TestAnnotationsAreWhereTheyBelong(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	arm, amd := image(reads.layer("arm")), image(reads.layer("amd"))
	arm.Platform = ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	amd.Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm.Entry = ocispec.Descriptor{Platform: &arm.Platform, Annotations: map[string]string{"old": "1"}}
	amd.Entry.Platform = &amd.Platform
	src := push.Source{Images: []push.Image{arm, amd}, Index: &push.Index{Format: imagebuilder.OCI}}
	plain := mustRun(t, o, src).Manifest()
	src.Index.Text = s.Content("lib/app/manifests/1")
	for i := range src.Images {
		src.Images[i].Text = s.Content("lib/app/manifests/" + s.Index("lib/app/manifests/1").Manifests[i].Digest.String())
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
		index := s.Index("lib/app/manifests/1")
		var entries, manifests []map[string]string
		for _, e := range index.Manifests {
			entries = append(entries, e.Annotations)
			manifests = append(manifests, s.Manifest("lib/app/manifests/"+e.Digest.String()).Annotations)
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
			s := registrytest.New(t)
			o := setUp(t, s.Host()+"/lib/app:1")
			away := registrytest.New(t)
			o = as(t, o, export.Spec{Type: export.TypeRegistry, Force: c.force},
				registrytest.References(t, s.Host()+"/lib/base", away.Host()+"/lib/base")...)
			switch c.at {
			case "origin":
				away.Set("lib/base/blobs/"+came.Digest.String(), blob)
			case "":
			default:
				s.Set(c.at+"/blobs/"+came.Digest.String(), blob)
			}
			var reads opened
			base := reads.layer("base")
			base.Came = came
			mustRun(t, o, push.Source{Images: []push.Image{image(base)}})
			got := s.Manifest("lib/app/manifests/1").Layers[0]
			if kept := got.Digest == came.Digest && got.MediaType == came.MediaType; kept != c.kept || (reads.n > 0) != c.read {
				t.Errorf("it is %+v, after %d reads", got, reads.n)
			}
			blobs := len(slices.DeleteFunc(s.Requests("PUT"), func(r string) bool { return !strings.Contains(r, "/blobs/") }))
			if sent := blobs == 2; sent != c.sent { // the config is the other
				t.Errorf("%d blobs were sent", blobs)
			}
		})
	}
}

func TestAManifestThatFitsStaysAsItIs(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	img := image(reads.layer("one"))
	first := mustRun(t, o, push.Source{Images: []push.Image{img}})
	text := append(bytes.TrimSuffix(s.Content("lib/app/manifests/1"), []byte("}")), ` , "annotations":{"k":"v"}}`...)
	img.Text = text
	if got := mustRun(t, o, push.Source{Images: []push.Image{img}}).Manifest(); got.Digest != digest.FromBytes(text) ||
		got.Digest == first.Manifest().Digest {
		t.Errorf("pushed %+v", got)
	}
	o.Format = imagebuilder.Docker
	mustRun(t, o, push.Source{Images: []push.Image{img}})
	if m := s.Manifest("lib/app/manifests/1"); m.MediaType != imagebuilder.TypeDockerManifest ||
		m.Layers[0].MediaType != imagebuilder.TypeDockerLayer+".gzip" || m.Annotations != nil {
		t.Errorf("in Docker's format it is %+v", m)
	}
	o = as(t, o, export.Spec{Type: export.TypeRegistry, Compression: export.Zstd})
	o.Format, img.Format = "", imagebuilder.Docker
	mustRun(t, o, push.Source{Images: []push.Image{img}})
	if m := s.Manifest("lib/app/manifests/1"); m.MediaType != ocispec.MediaTypeImageManifest ||
		m.Layers[0].MediaType != ocispec.MediaTypeImageLayerZstd || m.Annotations["k"] != "v" {
		t.Errorf("with zstd it is %+v", m)
	}
}

func TestALayerThatIsNotWhatItSaysIsNotPushed(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	wrong := reads.layer("one")
	wrong.DiffID = digest.FromString("other")
	if _, err := run(t, o, push.Source{Images: []push.Image{image(wrong)}}); !errors.Is(err, export.ErrDigest) ||
		s.Manifest("lib/app/manifests/1") != nil {
		t.Errorf("%v", err)
	}
}

// TestWhatWasCompressedOnceIsNotCompressedAgain has the registry lose what it was sent.
func TestWhatWasCompressedOnceIsNotCompressedAgain(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	var reads opened
	src := push.Source{Images: []push.Image{image(reads.layer("one"))}}
	first := mustRun(t, o, src).Manifest()
	layer := s.Manifest("lib/app/manifests/1").Layers[0].Digest
	s.Set("lib/app/manifests/1", nil)
	s.Set("lib/app/blobs/"+layer.String(), nil)
	o = as(t, o, export.Spec{Type: export.TypeRegistry}) // as another process does
	if again := mustRun(t, o, src).Manifest(); again.Digest != first.Digest || reads.n != 1 ||
		s.Content("lib/app/blobs/"+layer.String()) == nil {
		t.Errorf("%d reads, pushed %v and then %v", reads.n, first, again)
	}
	o = as(t, o, export.Spec{Type: export.TypeRegistry, Compression: export.Gzip, Level: 9})
	if mustRun(t, o, src); reads.n != 2 {
		t.Errorf("%d reads: another level is another blob", reads.n)
	}
}

// TestAPushThatFailsLeavesNoUploadOpen has registries that begin uploads, since they can't mount what they are asked
// to.
func TestAPushThatFailsLeavesNoUploadOpen(t *testing.T) {
	type breaking func(o *push.Options, s *registrytest.Server, cancel context.CancelCauseFunc) error
	full := errors.New("the disk is full")
	for name, breaks := range map[string]breaking{
		"the layer can't be compressed": func(o *push.Options, _ *registrytest.Server, _ context.CancelCauseFunc) error {
			o.Spool = func() (*os.File, error) { return nil, full }
			return full
		},
		"the user interrupts the compression": func(o *push.Options, _ *registrytest.Server,
			cancel context.CancelCauseFunc) error {
			spool := o.Spool
			o.Spool = func() (*os.File, error) { cancel(full); return spool() }
			return full
		},
		"another registry refuses": func(_ *push.Options, s *registrytest.Server, _ context.CancelCauseFunc) error {
			s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
				refused := r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/team/app/blobs/")
				if refused {
					w.WriteHeader(http.StatusForbidden)
				}
				return refused
			}
			return nil
		},
		"the upload is refused": func(_ *push.Options, s *registrytest.Server, _ context.CancelCauseFunc) error {
			s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
				refused := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
				if refused {
					w.WriteHeader(http.StatusForbidden)
				}
				return refused
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			o := setUp(t, s.Host()+"/lib/app:1", s.Host()+"/team/app:1")
			// What a note calls a blob of the layer, nobody has.
			o = as(t, o, export.Spec{Type: export.TypeRegistry}, registrytest.References(t, s.Host()+"/lib/base")...)
			var reads opened
			base := reads.layer("base")
			base.Came = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip,
				Digest: digest.FromString("gone"), Size: 4}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			want := breaks(&o, s, cancel)
			p, err := push.New(o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Send(ctx, push.Source{Images: []push.Image{image(base)}})
			if err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
			asked := s.Requests("")
			if posts := slices.ContainsFunc(asked, func(r string) bool { return strings.HasPrefix(r, "POST") }); !posts {
				t.Errorf("no upload was begun: %q", asked)
			}
			if left := s.Uploads(); len(left) > 0 {
				t.Errorf("uploads are left open: %q of %q", left, asked)
			}
			if s.Content("lib/app/manifests/1") != nil || s.Content("team/app/manifests/1") != nil {
				t.Error("a tag was set")
			}
		})
	}
}

func TestAPushEndsWithItsContext(t *testing.T) {
	s := registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	s.Refuse = func(http.ResponseWriter, *http.Request) bool { cancel(cause); return false }
	p, err := push.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var reads opened
	if _, err := p.Send(ctx, push.Source{Images: []push.Image{image(reads.layer("one"))}}); !errors.Is(err, cause) ||
		s.Manifest("lib/app/manifests/1") != nil {
		t.Errorf("%v", err)
	}
}

func TestALayerThatCouldNotBeSentIsSentWhenThePushIsTriedAgain(t *testing.T) {
	s := registrytest.New(t)
	for _, times := range []int{0, 1} {
		o := setUp(t, s.Host()+"/lib/app:"+strconv.Itoa(times))
		down := true
		var told []error
		o.Retries = registry.Retries{Times: times, Delay: time.Millisecond}
		o.Again = func(_ time.Duration, err error) { down, told = false, append(told, err) }
		p, err := push.New(o)
		if err != nil {
			t.Fatal(err)
		}
		var reads opened
		early := reads.layer("one")
		open := early.Open
		early.Open = func() (io.ReadCloser, error) {
			if down {
				return nil, &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF} // something that may pass
			}
			return open()
		}
		if _, err := p.Layer(t.Context(), early); err == nil {
			t.Error("a layer was sent that can't be read")
		}
		_, err = p.Send(t.Context(), push.Source{Images: []push.Image{image(early, reads.layer("two"))}})
		if (err == nil) != (times > 0) || len(told) != times {
			t.Errorf("%d retries: %v, told %v", times, err, told)
		}
	}
}
