package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func TestAnImageIsReadWhole(t *testing.T) {
	registrytest.Home(t, "")
	f := newFake(t)
	layer := bytes.Repeat([]byte("layer "), 10000)
	d := f.image("lib/app", "1", layer, amd64())
	c := client(t, f, registry.Options{})
	for _, name := range []string{"/lib/app:1", "/lib/app@" + d.Digest.String(), "/lib/app:other@" + d.Digest.String()} {
		img, got, err := pull(t.Context(), c, registrytest.Ref(t, f.host()+name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got, gzipped(layer)) || digest.FromBytes(img.Manifest) != d.Digest || img.Index != nil ||
			img.Created.Year() != 2020 {
			t.Errorf("%s: read %+v", name, img)
		}
	}
	_, _, err := pull(t.Context(), c, registrytest.Ref(t, f.host()+"/lib/app:2"))
	registrytest.Wants(t, err, "404", "nothing here")
	if !errors.Is(err, content.ErrNotFound) {
		t.Errorf("%v is not content.ErrNotFound", err)
	}
}

func TestWhatARegistryMayAnswer(t *testing.T) {
	layer := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	zipped := gzipped(layer)
	sum := digest.FromBytes(zipped).String()
	blob := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/blobs/"+sum) }
	manifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	// times is true for the first n requests of a kind.
	times := func(n int32, kind func(*http.Request) bool, answer http.HandlerFunc) func(http.ResponseWriter,
		*http.Request) bool {
		var seen atomic.Int32
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !kind(r) || seen.Add(1) > n {
				return false
			}
			answer(w, r)
			return true
		}
	}
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, `{"errors":[{"code":"X","message":"told\u001b[31m so"}]}`)
		}
	}
	body := func(text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() // without a length
			_, _ = w.Write(text)
		}
	}
	// partly sends the beginning of the blob and breaks the connection.
	partly := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(zipped)))
		_, _ = w.Write(zipped[:100])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	const always = 1 << 20
	for _, c := range []struct {
		name   string
		before func(http.ResponseWriter, *http.Request) bool
		want   []string
	}{
		{"busy for a moment", times(2, manifest, status(http.StatusServiceUnavailable)), nil},
		{"too many requests for a moment", times(1, manifest, status(http.StatusTooManyRequests, "Retry-After", "1")), nil},
		{"too many requests for an hour", times(1, manifest, status(http.StatusTooManyRequests, "Retry-After", "3600")),
			[]string{"429", "hint"}},
		{"too many requests for ever", times(always, manifest, status(http.StatusTooManyRequests)),
			[]string{"429", "told [31m so"}},
		{"server error for ever", times(always, manifest, status(http.StatusInternalServerError)), []string{"500"}},
		{"server error for a blob", times(2, blob, status(http.StatusBadGateway)), nil},
		{"forbidden", times(always, manifest, status(http.StatusForbidden)), []string{"403", "cooper login"}},
		{"unauthorized without a word how", times(always, manifest, status(http.StatusUnauthorized)),
			[]string{"does not say how"}},
		{"missing blob", times(always, blob, status(http.StatusNotFound)), []string{"404"}},
		{"redirects in a circle",
			times(always, manifest,
				func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }),
			[]string{"redirects without end"}},
		{"broken download", times(3, blob, partly), nil},
		{"download that always breaks", times(always, blob, partly), []string{sum, "broke off"}},
		{"stalled download", times(1, blob, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(zipped)))
			_, _ = w.Write(zipped[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), nil},
		{"other bytes", times(always, blob, body(bytes.Repeat([]byte("x"), len(zipped)))), []string{"what came has digest"}},
		{"short blob", times(always, blob, body(zipped[:len(zipped)-1])), []string{sum}},
		{"long blob", times(always, blob, body(append(bytes.Clone(zipped), 'x'))), []string{"bytes, and it has more"}},
		{"wrong length", times(always, blob, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			_, _ = w.Write([]byte("12345"))
		}), []string{"bytes, and it has 5\n", sum}},
		{"endless blob", times(always, blob, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(zipped); err != nil {
					return
				}
			}
		}), []string{"bytes, and it has more", sum}},
		{"endless manifest", times(always, manifest, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
					return
				}
			}
		}), []string{"longer than 4194304 bytes"}},
		{"no JSON", times(always, manifest, body([]byte("<html>"))), []string{"is not JSON"}},
		{"schema 1", times(always, manifest, body([]byte(`{"schemaVersion":1,"fsLayers":[]}`))), []string{"schema 1"}},
		{"other schema", times(always, manifest, body([]byte(`{"schemaVersion":3}`))), []string{"schema version 3"}},
		{"two in one", times(always, manifest, body([]byte(`{"schemaVersion":2,"manifests":[],"layers":[]}`))),
			[]string{"at the same time"}},
		{"neither", times(always, manifest, body([]byte(`{"schemaVersion":2}`))), []string{"neither"}},
		{"artifact", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"},"layers":[]}`))),
			[]string{"no container image", "helm"}},
		{"config path", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:../../../etc/passwd","size":5},"layers":[]}`))), []string{"digest"}},
		{"huge config", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+sum+
				`","size":99999999999},"layers":[]}`))), []string{"99999999999"}},
		{"negative size", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+sum+
				`","size":-1},"layers":[]}`))), []string{"-1"}},
		{"encrypted layer", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+sum+
				`","size":1},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip+encrypted"}]}`))),
			[]string{"layer 1", "encrypted"}},
		{"odd layer", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+sum+
				`","size":1},"layers":[{"mediaType":"text/x"}]}`))), []string{"layer 1", "text/x"}},
		{"many layers", times(always, manifest,
			body([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[`+
				strings.Repeat("{},", 500)+`{}]}`))), []string{"501 layers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			registrytest.Home(t, "")
			f := newFake(t)
			f.image("lib/app", "1", layer, amd64())
			f.before = c.before
			_, got, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/lib/app:1"))
			registrytest.Wants(t, err, c.want...)
			if err == nil && !bytes.Equal(got, zipped) {
				t.Errorf("%d bytes, want %d", len(got), len(zipped))
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\r") {
				t.Errorf("the registry speaks to the terminal: %q", err)
			}
		})
	}
}

func TestABrokenDownloadIsTakenUpWhereItEnded(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprint(ranges), func(t *testing.T) {
			registrytest.Home(t, "")
			f := newFake(t)
			layer := bytes.Repeat([]byte("0123456789abcdef"), 5000)
			plain := f.blob("lib/app", ocispec.MediaTypeImageLayer, layer)
			f.image("lib/app", "1", []byte("x"), amd64())
			var starts []string
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, plain.Digest.String()) {
					return false
				}
				starts = append(starts, r.Header.Get("Range"))
				if !ranges {
					r.Header.Del("Range")
				}
				if len(starts) < 3 {
					http.ServeContent(&breaking{ResponseWriter: w, left: 30000}, r, "", time.Time{}, bytes.NewReader(layer))
					panic(http.ErrAbortHandler)
				}
				return false
			}
			remote, err := client(t, f, registry.Options{}).Resolve(t.Context(), registrytest.Ref(t, f.host()+"/lib/app:1"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := fetch(t.Context(), remote, plain)
			if err != nil || !bytes.Equal(got, layer) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if len(starts) != 3 || starts[0] != "" || starts[1] == "" || starts[2] == "" {
				t.Errorf("asked for %q", starts)
			}
		})
	}
}

// breaking lets only so many bytes through.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	n, _ = b.ResponseWriter.Write(p[:n])
	b.ResponseWriter.(http.Flusher).Flush()
	if n < len(p) {
		return n, errors.New("broken")
	}
	return n, nil
}

func TestCancellingEndsADownloadWithItsCause(t *testing.T) {
	registrytest.Home(t, "")
	f := newFake(t)
	f.image("lib/app", "1", []byte("x"), amd64())
	started := make(chan struct{})
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			close(started)
			<-r.Context().Done()
			return true
		}
		return false
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	go func() { <-started; cancel(why) }()
	if _, _, err := pull(ctx, client(t, f, registry.Options{}),
		registrytest.Ref(t, f.host()+"/lib/app:1")); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func TestPlainHTTPIsUsedOnlyIfAllowed(t *testing.T) {
	dir := registrytest.Home(t, "")
	f := newFake(t)
	f.image("lib/app", "1", []byte("x"), amd64())
	plain := httptest.NewServer(f)
	t.Cleanup(plain.Close)
	name := strings.TrimPrefix(plain.URL, "http://") + "/lib/app:1"
	_, _, err := pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, name))
	registrytest.Wants(t, err, "HTTP response to HTTPS client\nhint: --tls-verify=false, or insecure = true")
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{Insecure: true}), registrytest.Ref(t, name))
	registrytest.Wants(t, err)
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, f.host()+"/lib/app:1"))
	registrytest.Wants(t, err,
		"certificate signed by unknown authority\nhint: certificates of authorities are looked for in certs.d/"+
			f.host())
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{Insecure: true}),
		registrytest.Ref(t, f.host()+"/lib/app:1"))
	registrytest.Wants(t, err)
	registrytest.Write(t, dir+"/registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n",
		strings.TrimPrefix(plain.URL, "http://")))
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, name))
	registrytest.Wants(t, err)
	// A registry with TLS can't lead to a place without.
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	registrytest.Write(t, dir+"/registries.conf", "")
	c := client(t, f, registry.Options{})
	_, _, err = pull(t.Context(), c, registrytest.Ref(t, f.host()+"/lib/app:1"))
	registrytest.Wants(t, err, "not secure")
}

func TestMirrorsAreTriedInOrder(t *testing.T) {
	f := newFake(t)
	dir := registrytest.Home(t, "")
	d := f.image("mirror/app", "1", []byte("mirrored"), amd64())
	f.image("own/app", "1", []byte("own"), amd64())
	table := func(mirrors, more string) string {
		return fmt.Sprintf("[[registry]]\nprefix = \"example.test\"\nlocation = \"%s/own\"\n%s%s", f.host(), more,
			strings.ReplaceAll(mirrors, "HOST", f.host()))
	}
	const mirror, missing = "[[registry.mirror]]\nlocation = \"HOST/mirror\"\n",
		"[[registry.mirror]]\nlocation = \"HOST/missing\"\n"
	for _, c := range []struct {
		name, conf, image, want string
		errs                    []string
	}{
		{"none", table("", ""), "app:1", "own", nil},
		{"one", table(mirror, ""), "app:1", "mirrored", nil},
		{"second", table(missing+mirror, ""), "app:1", "mirrored", nil},
		{"all missing", table(missing, ""), "app:1", "own", nil},
		{"by digest only, tag", table(mirror, "mirror-by-digest-only = true\n"), "app:1", "own", nil},
		{"by digest only, digest", table(mirror, "mirror-by-digest-only = true\n"), "app@" + d.Digest.String(), "mirrored",
			nil},
		{"this one by digest, tag", table(mirror+"pull-from-mirror = \"digest-only\"\n", ""), "app:1", "own", nil},
		{"this one by tag, digest", table(mirror+"pull-from-mirror = \"tag-only\"\n", ""), "app@" + d.Digest.String(), "",
			[]string{"404"}},
		{"blocked", table(mirror, "blocked = true\n"), "app:1", "", []string{"blocks example.test"}},
		{"location blocked", table("", "") +
			fmt.Sprintf("[[registry]]\nprefix = \"%s/own\"\nlocation = \"elsewhere.test\"\nblocked = true\n", f.host()), "app:1",
			"", []string{"blocks"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			registrytest.Write(t, dir+"/registries.conf", c.conf)
			_, got, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, "example.test/"+c.image))
			registrytest.Wants(t, err, c.errs...)
			if err == nil && !bytes.Equal(got, gzipped([]byte(c.want))) {
				t.Errorf("got another image than that of %q", c.want)
			}
		})
	}
}
