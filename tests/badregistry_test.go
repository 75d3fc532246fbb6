package tests_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// liar is a registry with one image, whose answers a test may change. The image has one file, of the size that a layer
// says.
type liar struct {
	blobs    map[string][]byte
	manifest []byte
	// meet may answer a request itself, and tells whether it has.
	meet func(w http.ResponseWriter, r *http.Request) bool
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.meet != nil && l.meet(w, r) {
		return
	}
	at := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch text, known := l.blobs[at]; {
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write(l.manifest)
	case known:
		_, _ = w.Write(text)
	case r.URL.Path != "/v2/":
		w.WriteHeader(http.StatusNotFound)
	}
}

func (l *liar) blob(mediaType string, text []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	l.blobs[d.Digest.String()] = text
	return d
}

// serial numbers the images of liars.
var serial atomic.Int64

// newLiar has an image of n layers, all of them the same archive with a file of a size.
func newLiar(t *testing.T, n int, size int64, change func(*ocispec.Manifest)) *liar {
	t.Helper()
	l := &liar{blobs: map[string][]byte{}}
	var packed bytes.Buffer
	stream := digest.SHA256.Digester()
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(io.MultiWriter(z, stream.Hash()))
	name := fmt.Sprintf("file-%d", serial.Add(1)) // or a store has the layer of another image already
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
	if err == nil {
		_, err = io.CopyN(w, zeros{}, size)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	config.RootFS.Type = "layers"
	layer := l.blob(ocispec.MediaTypeImageLayerGzip, packed.Bytes())
	for range n {
		m.Layers = append(m.Layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, stream.Digest())
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = l.blob(ocispec.MediaTypeImageConfig, text)
	if change != nil {
		change(&m)
	}
	if l.manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return l
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// endless answers with a stream that doesn't end, or with one of a length that it doesn't have.
func endless(w http.ResponseWriter, begin string) bool {
	_, _ = io.WriteString(w, begin)
	_, _ = io.Copy(w, io.LimitReader(zeros{}, 8<<30))
	return true
}

// badRegistries are registries that no image comes from, each with a part of the error.
func badRegistries(t *testing.T) map[string]badRegistry {
	t.Helper()
	blobs := func(answer func(l *liar, w http.ResponseWriter, r *http.Request)) func(*liar) {
		return func(l *liar) {
			l.meet = func(w http.ResponseWriter, r *http.Request) bool {
				layer := strings.Contains(r.URL.Path, "/blobs/") && len(l.blobs[r.URL.Path[strings.LastIndexByte(
					r.URL.Path, '/')+1:]]) > 500
				if layer {
					answer(l, w, r)
				}
				return layer
			}
		}
	}
	manifests := func(answer func(w http.ResponseWriter, r *http.Request)) func(*liar) {
		return func(l *liar) {
			l.meet = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") {
					answer(w, r)
					return true
				}
				return false
			}
		}
	}
	small := func() *liar { return newLiar(t, 1, 1<<20, nil) }
	layers := func(change func(m *ocispec.Manifest)) *liar { return newLiar(t, 1, 1<<20, change) }
	return map[string]badRegistry{
		"a manifest of 1 GiB": {small(), manifests(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			endless(w, `{"a":"`)
		}), "is longer than"},
		"a manifest without end": {small(), manifests(func(w http.ResponseWriter, _ *http.Request) { endless(w, `{"a":"`) }),
			"is longer than"},
		"a manifest of brackets": {small(), manifests(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(`[`, 4<<20-1))
		}), "not JSON"},
		"10^6 layers": {small(), manifests(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"schemaVersion":2,"config":{},"layers":[{}`)
			for range 1_000_000 {
				_, _ = io.WriteString(w,
					`,{"digest":"sha256:0123456789012345678901234567890123456789012345678901234567890123","size":1}`)
			}
		}), "is longer than"},
		"many layers": {newLiar(t, 5000, 1<<20, nil), nil, "5000 layers"},
		"a digest that is none": {layers(func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../x" }), nil,
			"SHA-256"},
		"a config's that is none": {layers(func(m *ocispec.Manifest) { m.Config.Digest = "x" }), nil,
			"digest"},
		"a size that is none": {layers(func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }), nil, "-1"},
		"a size beyond all":   {layers(func(m *ocispec.Manifest) { m.Layers[0].Size = 1<<63 - 1 }), nil, "bytes"},
		"a layer of no gzip": {layers(func(m *ocispec.Manifest) { m.Layers[0].MediaType = ocispec.MediaTypeImageLayer }),
			nil, ""},
		"a loop of redirects": {small(),
			manifests(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
			}), "redirect"},
		"a loop of blobs": {small(),
			blobs(func(_ *liar, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			}), "redirect"},
		"a redirect to a file": {small(), manifests(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}), "file"},
		"too much": {small(), blobs(func(l *liar, w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(l.blobs[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]])
			endless(w, "")
		}), ""},
		"the wrong bytes": {small(), blobs(func(l *liar, w http.ResponseWriter, r *http.Request) {
			text := bytes.Clone(l.blobs[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]])
			text[len(text)/2] ^= 1
			_, _ = w.Write(text)
		}), "layer 1 of 1"},
		"an answer that is a page": {small(), manifests(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>\x1b[2J</html>")
		}), "not JSON"},
	}
}

type badRegistry struct {
	*liar
	lie func(*liar)
	// says is a part of the error; empty: the right image will do as well.
	says string
}

// mostMemory bounds the memory that cooper may reserve at bad input, in KiB. Go reserves it in steps of 64 MiB.
const mostMemory = 256 << 10

// TestWhatARegistryLiesAboutIsOneErrorInBoundedMemory pulls from registries that lie.
func TestWhatARegistryLiesAboutIsOneErrorInBoundedMemory(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		for name, bad := range badRegistries(t) {
			if bad.lie != nil {
				bad.lie(bad.liar)
			}
			server := httptest.NewServer(bad.liar)
			image := strings.TrimPrefix(server.URL, "http://") + "/lib/app:1"
			r := s.bounded(t, "pull", "-q", "--retry=0", "--tls-verify=false", image)
			server.CloseClientConnections()
			server.Close()
			switch {
			case bad.says == "" && r.Code == 0:
			case r.Code != 1 || !strings.Contains(r.Stderr, bad.says) || strings.Count(r.Stderr, "cooper: ") != 1:
				t.Errorf("%s: status %d\n%s", name, r.Code, tail(r.Stderr))
			}
			checkHarmless(t, name, r.Stderr)
			if len(r.Stderr) > 2000 {
				t.Errorf("%s: an error of %d bytes", name, len(r.Stderr))
			}
		}
		if names := s.mustCooper(t, "images", "-aq"); strings.Count(names, "\n") > 1 {
			t.Errorf("the store has %q", names)
		}
		s.checkNoLeftovers(t)
	})
}

// bounded runs cooper with mostMemory, without which it ends with a message of Go's. What takes longer than anybody
// would wait is stopped.
func (s *site) bounded(t *testing.T, args ...string) result {
	t.Helper()
	limit := fmt.Sprintf("ulimit -d %d && exec \"$@\"", mostMemory)
	cmd := s.command("sh", append([]string{"-c", limit, "sh", suite.cooper}, args...)...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	return runCommand(t, cmd)
}

// TestABombIsUnpackedOrRefusedInBoundedMemory has archives that are small as long as they are packed.
func TestABombIsUnpackedOrRefusedInBoundedMemory(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		l := newLiar(t, 1, 512<<20, nil)
		server := httptest.NewServer(l)
		defer server.Close()
		image := strings.TrimPrefix(server.URL, "http://") + "/lib/app:1"
		if r := s.bounded(t, "pull", "-q", "--tls-verify=false", image); r.Code != 0 {
			t.Errorf("a file of 512 MiB of zeros: status %d\n%s", r.Code, tail(r.Stderr))
		}
		// A frame that asks for a window of 2 GiB, which nobody needs to have.
		var packed bytes.Buffer
		z, err := zstd.NewWriter(&packed, zstd.WithWindowSize(zstd.MaxWindowSize), zstd.WithEncoderConcurrency(1))
		if err == nil {
			_, err = io.CopyN(z, zeros{}, 64<<20)
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		wide := newLiar(t, 1, 1, nil)
		var manifest ocispec.Manifest
		if err := json.Unmarshal(wide.manifest, &manifest); err != nil {
			t.Fatal(err)
		}
		manifest.Layers[0] = wide.blob(ocispec.MediaTypeImageLayerZstd, packed.Bytes())
		if wide.manifest, err = json.Marshal(manifest); err != nil {
			t.Fatal(err)
		}
		other := httptest.NewServer(wide)
		defer other.Close()
		image = strings.TrimPrefix(other.URL, "http://") + "/lib/app:1"
		if r := s.bounded(t, "pull", "-q", "--tls-verify=false", image); r.Code != 1 {
			t.Errorf("a wide window: status %d\n%s", r.Code, tail(r.Stderr))
		}
	})
}
