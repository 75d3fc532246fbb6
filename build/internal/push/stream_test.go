package push_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// large is a layer that is read as far as half, and further when go on is closed; then its reader gives err.
func large(goOn <-chan struct{}, err error) export.Blob {
	text := make([]byte, 12<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(text)
	half := len(text) / 2
	return export.Blob{DiffID: digest.FromBytes(text), Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
		rest := readFunc(sync.OnceValues(func() (io.Reader, error) {
			<-goOn
			return strings.NewReader(string(text[half:])), err
		}))
		return io.NopCloser(io.MultiReader(strings.NewReader(string(text[:half])), rest)), nil
	}}
}

// readFunc is a reader that is made when it is read first.
type readFunc func() (io.Reader, error)

func (f readFunc) Read(p []byte) (int, error) {
	r, err := f()
	if err != nil {
		return 0, err
	}
	return r.Read(p)
}

// TestALargeLayerIsSentWhileItIsCompressed has the second half of the layer wait for the first to arrive.
func TestALargeLayerIsSentWhileItIsCompressed(t *testing.T) {
	s, other := registrytest.New(t), registrytest.New(t)
	o := setUp(t, s.Host()+"/lib/app:1", s.Host()+"/team/app:1", other.Host()+"/lib/app:1")
	arrived := make(chan struct{})
	var once sync.Once
	s.Refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			once.Do(func() { close(arrived) })
		}
		return false
	}
	src := push.Source{Images: []push.Image{image(large(arrived, nil))}}
	mustRun(t, o, src)
	layer := s.Manifest("lib/app/manifests/1").Layers[0]
	for _, have := range [][]byte{s.Content("lib/app/blobs/" + layer.Digest.String()),
		s.Content("team/app/blobs/" + layer.Digest.String()), other.Content("lib/app/blobs/" + layer.Digest.String())} {
		if int64(len(have)) != layer.Size {
			t.Errorf("a repository has %d bytes of %d", len(have), layer.Size)
		}
	}
	for _, r := range s.Requests("PATCH") {
		if !strings.Contains(r, "/lib/app/") {
			t.Errorf("%s: the other repository of the registry mounts the blob", r)
		}
	}
	if left := append(s.Uploads(), other.Uploads()...); len(left) > 0 {
		t.Errorf("uploads are left open: %q", left)
	}
	// The blob is kept: what the registry loses is sent again without being compressed.
	s.Set("lib/app/manifests/1", nil)
	s.Set("lib/app/blobs/"+layer.Digest.String(), nil)
	gone := large(nil, nil)
	gone.Open = func() (io.ReadCloser, error) { return nil, errors.New("nobody needs it") }
	mustRun(t, o, push.Source{Images: []push.Image{image(gone)}})
}

func TestALargeLayerThatFailsLeavesNothing(t *testing.T) {
	broken := errors.New("the layer is broken")
	for name, test := range map[string]struct {
		err, want error
		arranged  func(s *registrytest.Server, cancel context.CancelCauseFunc)
	}{
		"it can't be read": {err: broken, want: broken},
		"the user interrupts": {want: broken, arranged: func(s *registrytest.Server, cancel context.CancelCauseFunc) {
			s.Refuse = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch {
					cancel(broken)
				}
				return false
			}
		}},
		"the registry refuses": {arranged: func(s *registrytest.Server, _ context.CancelCauseFunc) {
			s.Refuse = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch {
					w.WriteHeader(http.StatusForbidden)
				}
				return r.Method == http.MethodPatch
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			o := setUp(t, s.Host()+"/lib/app:1", s.Host()+"/team/app:1")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if test.arranged != nil {
				test.arranged(s, cancel)
			}
			p, err := push.New(o)
			if err != nil {
				t.Fatal(err)
			}
			goOn := make(chan struct{})
			close(goOn)
			_, err = p.Send(ctx, push.Source{Images: []push.Image{image(large(goOn, test.err))}})
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
			if left := s.Uploads(); len(left) > 0 {
				t.Errorf("uploads are left open: %q", left)
			}
			if slices.ContainsFunc(s.Requests("PUT"), func(r string) bool { return strings.Contains(r, "/manifests/") }) {
				t.Error("a manifest was sent")
			}
		})
	}
}
