package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// line is a network on which a byte takes its time, by a clock of its own: all connections together as long as one, or
// each as if there were no other.
type line struct {
	blob []byte
	// perByte is the time that a byte takes over one connection, perPart that which it takes where several share the time.
	perByte, perPart time.Duration
	clock            atomic.Int64
	// answer changes the answer to the nth request; may be nil.
	answer func(resp *http.Response, n int)
	// second is closed when two parts were asked for.
	second chan struct{}

	mu    sync.Mutex
	asked []string
}

func (l *line) now() time.Time { return time.Unix(0, l.clock.Load()) }

func (l *line) get(ctx context.Context, header http.Header) (*http.Response, error) {
	wanted := header.Get("Range")
	l.mu.Lock()
	l.asked = append(l.asked, wanted)
	n := len(l.asked)
	l.mu.Unlock()
	resp := &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, Header: http.Header{"Accept-Ranges": {"bytes"}}}
	from, to, cost := 0, len(l.blob)-1, l.perByte
	if wanted != "" {
		if k, _ := fmt.Sscanf(wanted, "bytes=%d-%d", &from, &to); k == 2 { // with one number it is the rest
			cost = l.perPart
			if n == 3 {
				close(l.second)
			}
			select { // no part is there before two were asked for
			case <-l.second:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		resp.StatusCode = http.StatusPartialContent
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(l.blob)))
	}
	resp.ContentLength = int64(to + 1 - from)
	resp.Body = &timed{bytes.NewReader(l.blob[from : to+1]), l, cost}
	if l.answer != nil {
		l.answer(resp, n)
	}
	return resp, nil
}

// timed is an answer whose bytes take their time.
type timed struct {
	io.Reader
	on   *line
	cost time.Duration
}

func (t *timed) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p[:min(len(p), 32<<10)])
	t.on.clock.Add(int64(n) * int64(t.cost))
	return n, err
}

func (t *timed) Close() error { return nil }

func TestABlobIsReadOverSeveralConnectionsWhereThatHelps(t *testing.T) {
	t.Parallel()
	blob := make([]byte, 60<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(blob)       // it never fails
	const slow, fast = time.Microsecond, time.Nanosecond // a byte
	isPart := func(resp *http.Response) bool {
		return resp.StatusCode == http.StatusPartialContent && resp.ContentLength <= 4<<20
	}
	for name, test := range map[string]struct {
		size             int
		perByte, perPart time.Duration
		answer           func(resp *http.Response, n int)
		// several says that parts are asked for, alone that one connection reads the end after that.
		several, alone bool
	}{
		"slow":                   {size: len(blob), perByte: slow, perPart: slow / 4, several: true},
		"fast":                   {size: len(blob), perByte: fast, perPart: fast},
		"small":                  {size: 20 << 20, perByte: slow, perPart: slow / 4},
		"no faster with several": {size: len(blob), perByte: slow, perPart: slow, several: true, alone: true},
		"a server that gives no part": {len(blob), slow, slow / 4,
			func(r *http.Response, _ int) { r.Header.Del("Accept-Ranges") }, false, false},
		"one connection for all": {len(blob), slow, slow / 4, func(r *http.Response, _ int) { r.ProtoMajor = 2 }, false,
			false},
		"whole blobs after all": {len(blob), slow, slow / 4, func(r *http.Response, _ int) {
			if isPart(r) {
				r.StatusCode = http.StatusOK
			}
		}, true, true},
		"refused": {len(blob), slow, slow / 4, func(r *http.Response, n int) {
			if n >= 6 && isPart(r) { // what is asked for after that is the end of the blob, which isn't
				r.StatusCode = http.StatusForbidden
			}
		}, true, true},
		"another part": {len(blob), slow, slow / 4, func(r *http.Response, n int) {
			if n >= 6 && isPart(r) {
				r.Header.Set("Content-Range", "bytes 0-4194303/62914560")
			}
		}, true, true},
		"broken again and again": {len(blob), slow, slow / 4, func(r *http.Response, _ int) {
			if isPart(r) {
				r.Body = io.NopCloser(io.LimitReader(r.Body, 0))
			}
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &line{blob: blob[:test.size], perByte: test.perByte, perPart: test.perPart, answer: test.answer,
				second: make(chan struct{})}
			d := ocispec.Descriptor{Digest: digest.FromBytes(l.blob), Size: int64(test.size)}
			rc, err := registry.ReadWidening(t.Context(), d, l.now, l.get)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			verified, err := content.Verify(rc, d)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, verified); err != nil || n != d.Size {
				t.Errorf("%d bytes, %v", n, err)
			}
			several := slices.ContainsFunc(l.asked, func(r string) bool { return r != "" && !strings.HasSuffix(r, "-") })
			alone := strings.HasSuffix(l.asked[len(l.asked)-1], "-")
			if several != test.several || alone != test.alone || l.asked[0] != "" {
				t.Errorf("asked for %q", l.asked)
			}
		})
	}
}

func TestClosingEndsAllConnections(t *testing.T) {
	t.Parallel()
	blob := make([]byte, 40<<20)
	l := &line{blob: blob, perByte: time.Microsecond, perPart: time.Microsecond, second: make(chan struct{})}
	begun := make(chan struct{}, 100)
	l.answer = func(r *http.Response, n int) {
		if n > 1 {
			r.Body = &endless{begun: begun, of: r.Body}
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	rc, err := registry.ReadWidening(ctx, ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))},
		l.now,
		func(ctx context.Context, h http.Header) (*http.Response, error) {
			resp, err := l.get(ctx, h)
			if e, ok := resp.Body.(*endless); ok {
				e.ctx = ctx
			}
			return resp, err
		})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	go func() {
		<-begun
		cancel(why)
	}()
	if _, err := io.Copy(io.Discard, rc); !errors.Is(err, why) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if err := rc.Close(); err != nil { // it waits for them
		t.Error(err)
	}
}

// endless gives nothing until its request is cancelled.
type endless struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no parameter for it
	begun chan struct{}
	of    io.Closer
}

func (e *endless) Read([]byte) (int, error) {
	e.begun <- struct{}{}
	<-e.ctx.Done()
	return 0, e.ctx.Err()
}

func (e *endless) Close() error { return e.of.Close() }

func TestAPartOfABlobIsAskedForAlone(t *testing.T) {
	registrytest.Home(t, "")
	f := newFake(t)
	f.image("lib/app", "1", []byte("layer"), amd64())
	blob := f.blob("lib/app", "", []byte("0123456789"))
	remote, err := client(t, f, registry.Options{}).Resolve(t.Context(), registrytest.Ref(t, f.host()+"/lib/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	part := func(d ocispec.Descriptor) (string, error) {
		rc, err := remote.FetchPart(t.Context(), d, 3, 4)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(rc)
		return string(text), errors.Join(err, rc.Close())
	}
	if text, err := part(blob); text != "3456" || err != nil {
		t.Errorf("it is %q, %v", text, err)
	}
	if _, err := part(ocispec.Descriptor{Digest: "../x", Size: 10}); err == nil {
		t.Error("a digest that is none is asked for")
	}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("Range") // a server that gives no parts
		return false
	}
	if text, err := part(blob); err == nil {
		t.Errorf("of a server without parts it is %q", text)
	}
}
