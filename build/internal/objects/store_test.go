package objects_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/objects"
	"github.com/cooperbuild/cooper/build/internal/objects/objectstest"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

func open(t *testing.T, place string) objects.Store {
	t.Helper()
	all, err := sharedcache.From(place)
	if err != nil {
		t.Fatal(err)
	}
	s, err := objects.Open(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func blobOf(text string) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
}

// TestAStoreHasWhatWasPut is the contract of all stores.
func TestAStoreHasWhatWasPut(t *testing.T) {
	t.Parallel()
	for _, server := range objectstest.All(t) {
		t.Run(server.Kind, func(t *testing.T) {
			t.Parallel()
			ctx, s := t.Context(), open(t, server.Place(""))
			for _, text := range []string{"", "content", strings.Repeat("large", 1<<20)} {
				d := blobOf(text)
				if there, err := s.Has(ctx, d); there || err != nil {
					t.Errorf("before: %v, %v", there, err)
				}
				if _, err := s.Get(ctx, d); !errors.Is(err, content.ErrNotFound) {
					t.Errorf("before: %v", err)
				}
				for range 2 {
					if err := s.Put(ctx, d, strings.NewReader(text)); err != nil {
						t.Fatal(err)
					}
				}
				if there, err := s.Has(ctx, d); !there || err != nil {
					t.Errorf("after: %v, %v", there, err)
				}
				got, err := content.ReadAll(ctx, objects.Fetcher{Blobs: s}, d, 1<<30)
				if err != nil || string(got) != text {
					t.Errorf("%d bytes of %d, %v", len(got), len(text), err)
				}
			}
		})
	}
}

func TestAHeadIsReplacedByWhoHasReadIt(t *testing.T) {
	t.Parallel()
	for _, server := range objectstest.All(t) {
		t.Run(server.Kind, func(t *testing.T) {
			t.Parallel()
			ctx, s := t.Context(), open(t, server.Place(""))
			_, none, err := s.Head(ctx, 100)
			if !errors.Is(err, content.ErrNotFound) {
				t.Fatal(err)
			}
			if err := s.SetHead(ctx, []byte("first"), none); err != nil {
				t.Fatal(err)
			}
			text, mark, err := s.Head(ctx, 100)
			if err != nil || string(text) != "first" {
				t.Fatalf("%q, %v", text, err)
			}
			if err := s.SetHead(ctx, []byte("second"), mark); err != nil {
				t.Fatal(err)
			}
			if err := s.SetHead(ctx, []byte("late"), mark); !errors.Is(err, objects.ErrChanged) {
				t.Errorf("a head that was read before the second: %v", err)
			}
			if text, _, err = s.Head(ctx, 100); err != nil || string(text) != "second" {
				t.Errorf("%q, %v", text, err)
			}
			if _, _, err := s.Head(ctx, 3); err == nil {
				t.Error("a head that is longer than may be read is read")
			}
			other := open(t, server.Place(map[string]string{"gha": ",scope=other"}[server.Kind]+
				map[bool]string{true: ",name=other"}[server.Kind != "gha"]))
			if _, _, err := other.Head(ctx, 100); !errors.Is(err, content.ErrNotFound) {
				t.Errorf("under another name: %v", err)
			}
		})
	}
}

func TestWhatAKilledWriterHasBegunIsNotInTheWay(t *testing.T) {
	t.Parallel()
	server := objectstest.New(t, "gha")
	s, d := open(t, server.Place("")), blobOf("content")
	ctx, cancel := context.WithCancel(t.Context())
	server.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/files/") {
			cancel()
			return true
		}
		return false
	})
	if err := s.Put(ctx, d, strings.NewReader("content")); err == nil {
		t.Fatal("it was not killed")
	}
	server.Fail(nil)
	if err := s.Put(t.Context(), d, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	if there, err := s.Has(t.Context(), d); !there || err != nil {
		t.Error(there, err)
	}
}

func TestALargeBlobComesInBlocks(t *testing.T) {
	t.Parallel()
	server := objectstest.New(t, "gha")
	s, text := open(t, server.Place("")), bytes.Repeat([]byte("0123456789abcdef"), 5<<20)
	d := ocispec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	if err := s.Put(t.Context(), d, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	got, err := content.ReadAll(t.Context(), objects.Fetcher{Blobs: s}, d, 1<<30)
	if err != nil || !bytes.Equal(got, text) {
		t.Error(len(got), err)
	}
}

// TestAStoreThatFailsSaysWhy has stores refuse, redirect, break off and send something else.
func TestAStoreThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "its \x1b[31mtext", code)
			return true
		}
	}
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		want  string
		// sent is how often a request is sent.
		sent int32
	}{
		"401": {status(401), "401 Unauthorized: its [31mtext", 1},
		"403": {status(403), "403 Forbidden", 1},
		"500": {status(500), "500 Internal Server Error", 3},
		"429": {status(429), "429 Too Many Requests", 3},
		"redirects without end": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.String(), http.StatusFound)
			return true
		}, "302", 0},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF", 0},
		"no answer": {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, "EOF", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, server := range objectstest.All(t) {
				var sent atomic.Int32
				server.Fail(func(w http.ResponseWriter, r *http.Request) bool {
					sent.Add(1)
					return c.fault(w, r)
				})
				s := open(t, server.Place(""))
				_, _, err := s.Head(t.Context(), 1<<20)
				redirects := c.want == "302" && server.Kind != "gha"
				if err == nil || !redirects && !strings.Contains(err.Error(), c.want) ||
					redirects && !strings.Contains(err.Error(), "redirects more than 5 times") ||
					strings.Contains(err.Error(), "secret") || strings.ContainsRune(err.Error(), '\x1b') {
					t.Errorf("%s: %v", server.Kind, err)
				}
				if got := sent.Load(); c.sent > 0 && got != c.sent {
					t.Errorf("%s: sent %d times, not %d", server.Kind, got, c.sent)
				}
			}
		})
	}
}

func TestWithoutTheVariablesOfAJobTheServiceIsNamed(t *testing.T) {
	t.Setenv("ACTIONS_RESULTS_URL", "")
	t.Setenv("ACTIONS_RUNTIME_TOKEN", "")
	_, err := objects.Open(sharedcache.Spec{Type: sharedcache.GHA})
	if err == nil || !strings.Contains(err.Error(), "hint: GitHub gives them to actions only") {
		t.Error(err)
	}
}
