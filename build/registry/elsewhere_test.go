package registry_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// foreign puts an image into a registry whose only layer has a type and URLs. The layer is there if it has none.
func (f *fake) foreign(mediaType string, layer []byte, urls ...string) {
	zipped := gzipped(layer)
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(zipped), Size: int64(len(zipped)), URLs: urls}
	if len(urls) == 0 {
		f.blob("lib/app", mediaType, zipped)
	}
	m := ocispec.Manifest{
		MediaType: "application/vnd.docker.distribution.manifest.v2+json", Layers: []ocispec.Descriptor{d},
		Config: f.blob("lib/app", "application/vnd.docker.container.image.v1+json",
			[]byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["`+
				digest.FromBytes(layer).String()+`"]}}`)),
	}
	m.SchemaVersion = 2
	f.manifest("lib/app", "1", m.MediaType, m)
}

func TestALayerThatMayNotBeDistributedIsWhereItsURLsSay(t *testing.T) {
	layer := bytes.Repeat([]byte("foreign "), 20000)
	zipped := gzipped(layer)
	var asked []http.Header
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Clone())
		switch r.URL.Path {
		case "/layer":
			if len(asked) == 1 && r.Header.Get("Range") == "" { // it is taken up where it breaks
				w.Header().Set("Content-Length", fmt.Sprint(len(zipped)))
				_, _ = w.Write(zipped[:100])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(zipped)
		case "/other":
			_, _ = w.Write(bytes.Repeat([]byte("x"), len(zipped)))
		case "/moved":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(plain.Close)
	at := func(path string) string {
		return strings.Replace(plain.URL, "://", "://user:secret@", 1) + path
	}
	const docker, oci = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	for _, c := range []struct {
		name, kind string
		urls       []string
		secure     bool
		want       []string
	}{
		{"in the registry", docker, nil, true, nil},
		{"in the registry, OCI", oci, nil, true, nil},
		{"at its URL", oci, []string{at("/layer")}, false, nil},
		{"at its last URL", docker, []string{at("/404"), "file:///etc/passwd", "ftp://h/x", "::", at("/layer")}, false, nil},
		{"nowhere", docker, []string{at("/404")}, false, []string{"may not be distributed", "/404", "404 Not Found"}},
		{"other bytes", docker, []string{at("/other")}, false, []string{"what came has digest"}},
		{"a file", docker, []string{"file:///etc/passwd"}, false,
			[]string{"may not be distributed", "no URL that a layer can be at"}},
		{"led to a file", docker, []string{at("/moved")}, false,
			[]string{"may not be distributed", "unsupported protocol scheme"}},
		{"without TLS", docker, []string{at("/layer")}, true, []string{"may not be distributed", "not secure"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			registrytest.Home(t, "")
			f := newFake(t)
			f.foreign(c.kind, layer, c.urls...)
			asked = asked[:0]
			_, got, err := pull(t.Context(), client(t, f, registry.Options{Insecure: !c.secure}),
				registrytest.Ref(t, f.host()+"/lib/app:1"))
			registrytest.Wants(t, err, c.want...)
			if err == nil && !bytes.Equal(got, zipped) {
				t.Errorf("%d bytes, want %d", len(got), len(zipped))
			}
			for _, h := range asked {
				if h.Get("Authorization") != "" || h.Get("Cookie") != "" || h.Get("Referer") != "" {
					t.Errorf("it was told %v", h)
				}
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has a password: %v", err)
			}
		})
	}
}
