package blobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// origins are the images that had each blob.
type origins []reference.Reference

func (o origins) Origins(digest.Digest) ([]reference.Reference, error) { return o, nil }

// server is a registry of one blob; asked counts the requests for it.
type server struct {
	asked  atomic.Int64
	answer http.HandlerFunc
	*httptest.Server
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			s.asked.Add(1)
			s.answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) image(t *testing.T) reference.Reference {
	t.Helper()
	ref, err := reference.Parse(strings.TrimPrefix(s.URL, "http://") + "/lib/base")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// options are for a room of the test's own, whose images came from servers.
func options(t *testing.T, from ...*server) blobs.Options {
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
	c, err := cache.Open(filepath.Join(home, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	var all origins
	for _, s := range from {
		all = append(all, s.image(t))
	}
	return blobs.Options{Cache: c, Dir: filepath.Join(home, "remote"), Origins: all,
		Registry: registry.Options{Insecure: true}, Quiet: 300 * time.Millisecond,
		Spool: func() (*os.File, error) { return os.CreateTemp(home, "spool") }}
}

func open(t *testing.T, o blobs.Options) *blobs.Room {
	t.Helper()
	r := blobs.New(o)
	t.Cleanup(r.Close)
	return r
}

// text is what a layer came as.
var text = strings.Repeat("a compressed layer ", 10_000)

func came() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(text),
		Size: int64(len(text))}
}

func oci() export.Spec { return export.Spec{Type: export.TypeOCI, Dest: "x"} }

// get asks for the blob; empty: it is not to be had.
func get(t *testing.T, r *blobs.Room) string {
	t.Helper()
	f, err := r.For(oci()).Open(t.Context(), came())
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		return ""
	}
	defer f.Close()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func whole(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }

func TestABlobIsFetchedOnceAndKept(t *testing.T) {
	s := serve(t, whole)
	o := options(t, s)
	if got := get(t, open(t, o)); got != text {
		t.Errorf("fetched are %d bytes", len(got))
	}
	if got := get(t, open(t, o)); got != text || s.asked.Load() != 1 {
		t.Errorf("the second time are %d bytes, and the registry was asked %d times", len(got), s.asked.Load())
	}
}

func TestABrokenDownloadGoesOn(t *testing.T) {
	s := serve(t, nil)
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		if s.asked.Load() > 1 {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = io.WriteString(w, text[:len(text)/2])
	}
	o := options(t, s)
	o.Quiet = time.Minute
	if got := get(t, open(t, o)); got != text {
		t.Errorf("there are %d bytes", len(got))
	}
}

func TestARegistryThatDoesNotGiveTheBlobIsGivenUp(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"gone": http.NotFound,
		"lying": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", len(text)))
		},
		"short": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text[:100]) },
		"long":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text+"x") },
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		},
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			_, _ = io.WriteString(w, text[:100])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"busy": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "50")
			w.WriteHeader(http.StatusTooManyRequests)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answer)
			r := open(t, options(t, s))
			if got := get(t, r); got != "" {
				t.Errorf("there are %d bytes", len(got))
			}
			asked := s.asked.Load()
			if got := get(t, r); got != "" || name != "gone" && s.asked.Load() != asked {
				t.Errorf("asked once more it is asked %d times and not %d, %d bytes", s.asked.Load(), asked, len(got))
			}
		})
	}
}

func TestARegistryThatIsAwayIsNoError(t *testing.T) {
	s := serve(t, whole)
	o := options(t, s)
	s.Close()
	if got := get(t, open(t, o)); got != "" {
		t.Errorf("there are %d bytes", len(got))
	}
}

func TestTheNextImageIsAskedIfOneHasLostTheBlob(t *testing.T) {
	lost, has := serve(t, http.NotFound), serve(t, whole)
	if got := get(t, open(t, options(t, lost, has))); got != text {
		t.Errorf("there are %d bytes", len(got))
	}
}

func TestOfflineNobodyIsAsked(t *testing.T) {
	s := serve(t, whole)
	o := options(t, s)
	o.Offline = true
	if got := get(t, open(t, o)); got != "" || s.asked.Load() != 0 {
		t.Errorf("%d bytes, asked %d times", len(got), s.asked.Load())
	}
}

func TestWhatWasPulledNeedsNoNetwork(t *testing.T) {
	o := options(t)
	o.Offline = true
	r := open(t, o)
	f := file(t, text)
	r.Pulled(t.Context(), came(), f)
	if got := get(t, r); got != text {
		t.Errorf("there are %d bytes", len(got))
	}
	if _, err := f.WriteAt([]byte("changed"), 0); err != nil {
		t.Fatal(err)
	}
	if got := get(t, r); got != text {
		t.Error("the file that it was copied from has changed it")
	}
}

func file(t *testing.T, content string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
		_, err = f.WriteString(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestADamagedBlobIsFetchedAnew(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"other bytes": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), len(text)), 0o600) },
		"cut":         func(path string) error { return os.Truncate(path, 100) },
		"gone":        os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, whole)
			o := options(t, s)
			r := open(t, o)
			get(t, r)
			kept, err := filepath.Glob(filepath.Join(o.Dir, "blobs", "*", "blob"))
			if err != nil || len(kept) != 1 {
				t.Fatalf("kept are %q, %v", kept, err)
			}
			if err := damage(kept[0]); err != nil {
				t.Fatal(err)
			}
			if got := get(t, r); got != text || s.asked.Load() != 2 {
				t.Errorf("there are %d bytes, and the registry was asked %d times", len(got), s.asked.Load())
			}
			if got := get(t, r); got != text || s.asked.Load() != 2 {
				t.Errorf("then there are %d bytes, and the registry was asked %d times", len(got), s.asked.Load())
			}
		})
	}
}

func TestAnEndedContextIsTold(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o := options(t, s)
	o.Quiet = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	go func() {
		for s.asked.Load() == 0 {
			time.Sleep(time.Millisecond) // the server tells nobody
		}
		cancel(why)
	}()
	f, err := open(t, o).For(oci()).Open(ctx, came())
	if f != nil || !errors.Is(err, why) {
		t.Errorf("%v, %v", f, err)
	}
}

func TestABaseLayerLeavesAsItCameUnlessToldOtherwise(t *testing.T) {
	o := options(t)
	r := open(t, o)
	layer := export.Blob{ID: "id", DiffID: digest.FromString("layer"), Size: 5, Came: came()}
	zstd := layer
	zstd.Came.MediaType = ocispec.MediaTypeImageLayerZstd
	packed := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("packed"), Size: 6}
	r.For(oci()).Keep(t.Context(), layer, packed, file(t, "packed"))
	for _, c := range []struct {
		name  string
		spec  export.Spec
		layer export.Blob
		want  []ocispec.Descriptor
	}{
		{"gzip", oci(), layer, []ocispec.Descriptor{layer.Came, packed}},
		{"zstd in a layout", oci(), zstd, []ocispec.Descriptor{zstd.Came, packed}},
		{"forced gzip of zstd", export.Spec{Type: export.TypeOCI, Force: true}, zstd, []ocispec.Descriptor{packed}},
		{"forced gzip of gzip", export.Spec{Type: export.TypeOCI, Force: true}, layer,
			[]ocispec.Descriptor{layer.Came, packed}},
		{"zstd of gzip", export.Spec{Type: export.TypeOCI, Compression: export.Zstd}, layer,
			[]ocispec.Descriptor{layer.Came}},
		{"forced zstd of gzip", export.Spec{Type: export.TypeOCI, Compression: export.Zstd, Force: true}, layer, nil},
		{"forced and uncompressed", export.Spec{Type: export.TypeOCI, Compression: export.Uncompressed, Force: true}, layer,
			nil},
		{"docker", export.Spec{Type: export.TypeDocker}, layer, []ocispec.Descriptor{layer.Came}},
		{"zstd in a docker archive", export.Spec{Type: export.TypeDocker}, zstd, nil},
		{"another level", export.Spec{Type: export.TypeOCI, Level: 9}, layer, []ocispec.Descriptor{layer.Came}},
	} {
		if got := r.For(c.spec).Blobs(c.layer); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
