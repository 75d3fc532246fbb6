package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// growing is a blob of which more is there each time that somebody waits for more, until it has failed.
type growing struct {
	text []byte
	step int64
	// fails is the error when no more than at bytes are wanted; nil: there is none.
	fails error
	at    int64
	// waits is called whenever somebody waits.
	waits func()

	mu   sync.Mutex
	have int64
}

func (g *growing) ReadAt(p []byte, at int64) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.NewReader(g.text[:g.have]).ReadAt(p, at)
}

func (g *growing) Await(ctx context.Context, n int64) (int64, *ocispec.Descriptor, error) {
	if g.waits != nil {
		g.waits()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.have <= n && g.have < int64(len(g.text)) {
		if g.fails != nil && g.have >= g.at {
			return g.have, nil, g.fails
		}
		if ctx.Err() != nil {
			return g.have, nil, context.Cause(ctx)
		}
		g.have = min(g.have+g.step, int64(len(g.text)))
	}
	if g.have < int64(len(g.text)) {
		return g.have, nil, nil
	}
	d := describe(g.text)
	return g.have, &d, nil
}

// stream uploads a blob while it is made.
func stream(ctx context.Context, to *registry.Destination, g *growing) error {
	u, err := to.Stream(ctx, g, func(int64) {})
	if err != nil {
		return err
	}
	return u.Send(ctx, g, func(int64) {})
}

// pieces is how many requests have sent a part of a blob.
func (f *taker) pieces() (n int) {
	f.fake.mu.Lock()
	defer f.fake.mu.Unlock()
	for _, r := range f.requests {
		if strings.HasPrefix(r, http.MethodPatch) {
			n++
		}
	}
	return n
}

func TestABlobIsSentWhileItIsMade(t *testing.T) {
	registrytest.Home(t, "")
	f := newTaker(t)
	to := destination(t, f.fake, registry.Options{}, "lib/app")
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		text := noise(size)
		before := f.pieces()
		registrytest.Wants(t, stream(t.Context(), to, &growing{text: text, step: 100_000}))
		f.wantBlob(t, "lib/app", text)
		if n, large := f.pieces()-before, size > 1<<20; n != map[bool]int{true: 1}[large] {
			t.Errorf("%d bytes were sent in %d pieces", size, n)
		}
	}
	if len(f.uploads) != 0 {
		t.Errorf("uploads are left open: %d", len(f.uploads))
	}
}

func TestAStreamThatBreaksIsGoneOnWithWhenTheBlobIsWhole(t *testing.T) {
	registrytest.Home(t, "")
	all := t // their servers are closed together, see TestUploadsThatBreak
	id := func(r *http.Request) string { return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] }
	for name, test := range map[string]struct {
		fault func(f *taker, w http.ResponseWriter, r *http.Request)
		loses bool
		says  string
	}{
		"a reset": {fault: func(f *taker, _ http.ResponseWriter, r *http.Request) { f.breakOff(r, 3<<19, id(r)) }},
		"a reset after which the upload is lost": {loses: true,
			fault: func(f *taker, _ http.ResponseWriter, r *http.Request) { f.breakOff(r, 3<<19, id(r)) }},
		"a registry that is busy": {fault: func(_ *taker, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}},
		"one that takes no pieces": {fault: func(_ *taker, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}},
		"one that sends the body elsewhere": {fault: func(_ *taker, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}},
		"one that refuses": {says: "403", fault: func(_ *taker, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		}},
		"one that says it has what was not sent": {says: "says that it has bytes",
			fault: func(_ *taker, w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Range", "0-999999999")
				w.WriteHeader(http.StatusAccepted)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTaker(all)
			f.loses = test.loses
			var once sync.Once
			f.faulty(func(w http.ResponseWriter, r *http.Request) (is bool) {
				if r.Method != http.MethodPatch {
					return false
				}
				if test.says != "" {
					test.fault(f, w, r)
					return true
				}
				once.Do(func() { test.fault(f, w, r); is = true })
				return is
			})
			text := noise(5 << 20)
			to := destination(t, f.fake, registry.Options{}, "lib/app")
			err := stream(t.Context(), to, &growing{text: text, step: 200_000})
			if test.says != "" {
				registrytest.Wants(t, err, test.says)
				return
			}
			registrytest.Wants(t, err)
			f.wantBlob(t, "lib/app", text)
		})
	}
}

func TestABlobThatCannotBeMadeLeavesNoUpload(t *testing.T) {
	registrytest.Home(t, "")
	full := errors.New("the disk is full")
	for _, at := range []int64{0, 1 << 20, 3 << 20} {
		f := newTaker(t)
		to := destination(t, f.fake, registry.Options{}, "lib/app")
		g := &growing{text: noise(5 << 20), step: 1 << 19, fails: full, at: at}
		if err := stream(t.Context(), to, g); !errors.Is(err, full) {
			t.Errorf("after %d bytes: %v", at, err)
		}
		f.mu.Lock()
		if len(f.uploads) != 0 {
			t.Errorf("after %d bytes: an upload is left open", at)
		}
		f.mu.Unlock()
	}
	f := newTaker(t)
	to := destination(t, f.fake, registry.Options{}, "lib/app")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	g := &growing{text: noise(5 << 20), step: 1 << 19}
	g.waits = func() {
		if g.have > 2<<20 {
			cancel(full)
		}
	}
	if err := stream(ctx, to, g); !errors.Is(err, full) {
		t.Errorf("interrupted: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.uploads) != 0 {
		t.Error("interrupted: an upload is left open")
	}
}
