package registry_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// fake is a registry that serves what it is given, over TLS on the loopback interface.
type fake struct {
	*httptest.Server
	// before may answer a request itself, and tells whether it has.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	content  map[string][]byte
	types    map[string]string
	requests []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{content: map[string][]byte{}, types: map[string]string{}}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = nil
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "https://") }

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.before != nil && f.before(w, r) {
		return
	}
	f.mu.Lock()
	text, ok := f.content[r.URL.Path]
	kind := f.types[r.URL.Path]
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"nothing here"}]}`)
		return
	}
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
}

// asked counts the requests whose method and path end in a text.
func (f *fake) asked(suffix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.HasSuffix(r, suffix) {
			n++
		}
	}
	return n
}

// blob puts a blob into a repository.
func (f *fake) blob(repo, mediaType string, text []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content["/v2/"+repo+"/blobs/"+d.Digest.String()] = text
	f.types["/v2/"+repo+"/blobs/"+d.Digest.String()] = "application/octet-stream"
	return d
}

// manifest puts a manifest into a repository under its digest and a tag.
func (f *fake) manifest(repo, tag, mediaType string, manifest any) ocispec.Descriptor {
	text, err := json.Marshal(manifest)
	if err != nil {
		panic(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range []string{tag, d.Digest.String()} {
		f.content["/v2/"+repo+"/manifests/"+name] = text
		f.types["/v2/"+repo+"/manifests/"+name] = mediaType
	}
	return d
}

// image puts an image with one layer into a repository.
func (f *fake) image(repo, tag string, layer []byte, p ocispec.Platform) ocispec.Descriptor {
	zipped := gzipped(layer)
	config := map[string]any{
		"os": p.OS, "architecture": p.Architecture, "variant": p.Variant, "created": "2020-01-02T03:04:05Z",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(layer)}},
	}
	text, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: f.blob(repo, ocispec.MediaTypeImageConfig, text),
		Layers: []ocispec.Descriptor{f.blob(repo, ocispec.MediaTypeImageLayerGzip, zipped)},
	}
	m.SchemaVersion = 2
	d := f.manifest(repo, tag, m.MediaType, m)
	d.Platform = &p
	return d
}

func gzipped(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// trust writes a registry's certificate into a directory for --cert-dir.
func (f *fake) trust(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	registrytest.Write(t, filepath.Join(dir, "ca.crt"),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})))
	return dir
}

// client makes a client that trusts a fake registry.
func client(t *testing.T, f *fake, o registry.Options) *registry.Client {
	t.Helper()
	if o.CertDir == "" && !o.Insecure && f != nil {
		o.CertDir = f.trust(t)
	}
	c, err := registry.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Hurry(time.Millisecond, 200*time.Millisecond)
	t.Cleanup(c.Close)
	return c
}

func amd64() ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: "amd64"} }

// fetch reads content to its end, verified.
func fetch(ctx context.Context, src content.Fetcher, d ocispec.Descriptor) ([]byte, error) {
	rc, err := src.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	r, err := content.Verify(rc, d)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// pull resolves an image and reads all of it.
func pull(ctx context.Context, c *registry.Client, r reference.Reference) (*content.Image, []byte, error) {
	remote, err := c.Resolve(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	img, err := content.ReadImage(ctx, remote, remote.Root, amd64())
	if err != nil || len(img.Layers) == 0 {
		return img, nil, err
	}
	layer, err := fetch(ctx, remote, img.Layers[0])
	return img, layer, err
}
