package web

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/fetch/fetchtest"
	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
)

func openCache(t *testing.T) *Room {
	t.Helper()
	kept, err := shelf.Open(filepath.Join(t.TempDir(), "fetch"))
	if err != nil {
		t.Fatal(err)
	}
	return New(kept)
}

// reopen gives the same room as another process would have it.
func reopen(c *Room) (*Room, error) {
	kept, err := shelf.Open(c.kept.Path())
	if err != nil {
		return nil, err
	}
	return New(kept), nil
}

func (s *Room) mustGet(t *testing.T, r Request) (*File, string) {
	t.Helper()
	f, err := s.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Release(); err != nil {
			t.Error(err)
		}
	})
	text, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	return f, string(text)
}

const lastModified = "Tue, 15 Nov 1994 12:45:26 GMT"

func TestDownloadHasNameModeTimeAndDigest(t *testing.T) {
	t.Parallel()
	url, _ := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dated" {
			w.Header().Set("Last-Modified", lastModified)
		}
		if name := r.URL.Query().Get("as"); name != "" {
			w.Header().Set("Content-Disposition", name)
		}
		fmt.Fprint(w, "content")
	})
	epoch, dated := time.Unix(0, 0).UTC(), time.Date(1994, 11, 15, 12, 45, 26, 0, time.UTC)
	for _, test := range []struct {
		path, request, name string
		mtime               time.Time
	}{
		{"/dated", "", "dated", dated},
		{"/a/b.tar?x=y", "", "b.tar", epoch},
		{"/", "", "download", epoch},
		{"/x", "given", "given", epoch},
		{"/x?as=attachment%3B+filename%3D%22real.txt%22", "", "real.txt", epoch},
		{"/x?as=attachment%3B+filename%3D%22..%2F..%2Fetc%2Fpasswd%22", "", "passwd", epoch},
		{"/x?as=attachment%3B+filename%3D%22dir%2F%22", "", "x", epoch},
		{"/x?as=attachment%3B+filename%3D%22..%22", "", "x", epoch},
		{"/x?as=attachment%3B+filename%2A%3DUTF-8%27%27%25e2%2582%25ac", "", "€", epoch},
	} {
		f, text := openCache(t).mustGet(t, Request{URL: url + test.path, Name: test.request})
		info, err := os.Lstat(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		got := []any{f.Name, filepath.Base(f.Path), info.Mode(), info.ModTime().UTC(), f.ModTime, f.Size, f.Digest, text}
		want := []any{
			test.name, test.name, os.FileMode(0o600), test.mtime, test.mtime, int64(7), digest.FromString("content"), "content",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.path, diff)
		}
	}
}

func TestDownloadIsRevalidated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		validator func(h http.Header, version int64)
		matches   func(r *http.Request, version int64) bool
		bodies    int64
	}{
		"etag": {
			func(h http.Header, v int64) { h.Set("ETag", fmt.Sprintf(`"v%d"`, v)) },
			func(r *http.Request, v int64) bool { return r.Header.Get("If-None-Match") == fmt.Sprintf(`"v%d"`, v) }, 2,
		},
		"weak etag": {
			func(h http.Header, v int64) { h.Set("ETag", fmt.Sprintf(`W/"v%d"`, v)) },
			func(r *http.Request, v int64) bool { return r.Header.Get("If-None-Match") == fmt.Sprintf(`W/"v%d"`, v) }, 2,
		},
		"last modified": {
			func(h http.Header, v int64) {
				h.Set("Last-Modified", time.Unix(v*1000, 0).UTC().Format(http.TimeFormat))
			},
			func(r *http.Request, v int64) bool {
				return r.Header.Get("If-Modified-Since") == time.Unix(v*1000, 0).UTC().Format(http.TimeFormat)
			}, 2,
		},
		"nothing": {func(http.Header, int64) {}, func(*http.Request, int64) bool { return false }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var version, bodies atomic.Int64
			version.Store(1)
			url, requests := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
				v := version.Load()
				test.validator(w.Header(), v)
				if test.matches(r, v) {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				bodies.Add(1)
				fmt.Fprintf(w, "version %d", v)
			})
			c := openCache(t)
			for n, want := range []string{"version 1", "version 1", "version 2"} {
				if n == 2 {
					version.Store(2)
				}
				if _, got := c.mustGet(t, Request{URL: url + "/f"}); got != want {
					t.Errorf("download %d: %q, want %q", n, got, want)
				}
			}
			if requests.Load() != 3 || bodies.Load() != test.bodies {
				t.Errorf("%d requests, %d bodies, want 3 and %d", requests.Load(), bodies.Load(), test.bodies)
			}
			if left := fetchtest.Leftovers(t, c.kept); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestChecksumIsCheckedAndSparesTheNetwork(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("some content\n", 100_000)
	url, requests := fetchtest.Serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) })
	c := openCache(t)
	sum := sha512.Sum512([]byte(content))
	sum384 := sha512.Sum384([]byte(content))
	good := []digest.Digest{
		digest.Digest("sha512:" + hex.EncodeToString(sum[:])), digest.FromString(content),
		digest.Digest("sha384:" + hex.EncodeToString(sum384[:])),
	}
	for n, want := range []int64{1, 1, 2} { // sha256 is always known, sha384 isn't
		f, text := c.mustGet(t, Request{URL: url + "/x", Checksum: good[n]})
		if text != content || requests.Load() != want || f.Digest != good[1] {
			t.Errorf("%s: %d requests, want %d; digest %s", good[n], requests.Load(), want, f.Digest)
		}
	}
	if f, _ := c.mustGet(t, Request{URL: "http://nowhere.invalid/y", Checksum: good[0]}); f.Name != "y" {
		t.Errorf("name %s", f.Name)
	}
	before := requests.Load()
	_, err := c.Get(t.Context(), Request{URL: url + "/x", Checksum: digest.FromString("other")})
	if !errors.Is(err, shelf.ErrChecksum) || !strings.Contains(err.Error(), digest.FromString(content).String()) {
		t.Errorf("wrong checksum: %v", err)
	}
	if requests.Load() != before+1 {
		t.Error("the checksum was not checked against the server's file")
	}
	for _, bad := range []digest.Digest{"md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:12", "sha256",
		"sha256:" + digest.Digest(strings.Repeat("Z", 64))} {
		if _, err := c.Get(t.Context(), Request{URL: url, Checksum: bad}); err == nil ||
			!strings.Contains(err.Error(), "must be sha256") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if left := fetchtest.Leftovers(t, c.kept); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestFailedDownloadsSayWhyAndLeaveNothing(t *testing.T) {
	t.Parallel()
	stalled := make(chan struct{})
	t.Cleanup(func() { close(stalled) })
	url, _ := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/404":
			http.NotFound(w, r)
		case "/401":
			w.WriteHeader(http.StatusUnauthorized)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/moved":
			http.Redirect(w, r, "http://u:redirected@"+r.Host+"/404", http.StatusFound)
		case "/ftp":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/short":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "short")
		case "/slow":
			for r.Context().Err() == nil {
				fmt.Fprint(w, "x")
				http.NewResponseController(w).Flush() //nolint:errcheck // the client notices
				time.Sleep(time.Millisecond)
			}
		case "/stall":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "some")
			http.NewResponseController(w).Flush() //nolint:errcheck // the client notices
			select {
			case <-stalled:
			case <-r.Context().Done():
			}
		}
	})
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the client that hangs up
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for address, want := range map[string]string{
		url + "/404":               "the server answers 404 Not Found",
		url + "/401":               "HTTP_AUTH_TOKEN_127.0.0.1",
		url + "/304":               "304",
		url + "/500":               "500 Internal Server Error",
		url + "/loop":              "more than 10 redirects",
		url + "/moved":             "404 Not Found for " + url + "/404",
		url + "/ftp":               "unsupported protocol scheme",
		url + "/short":             "the connection ended before the file did",
		url + "/slow":              "it is too slow",
		url + "/stall":             "the server sends nothing any more",
		secure.URL + "/x":          "the certificate is not trusted",
		"http://127.0.0.1:1/x":     "connection refused",
		"http://nowhere.invalid/x": "nowhere.invalid",
		"https://h:port/x":         "not a valid http or https URL",
		"ftp://h/x":                "not a valid http or https URL",
		"http:///x":                "not a valid http or https URL",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			c := openCache(t)
			if strings.HasSuffix(address, "/stall") {
				c.Limits.Stall = 300 * time.Millisecond
			}
			if strings.HasSuffix(address, "/slow") {
				var looks atomic.Int64
				c.Now = func() time.Time { return time.Unix(looks.Add(1), 0) }
			}
			withUser := strings.Replace(address, "://", "://user:hunter2@", 1)
			f, err := c.Get(t.Context(), Request{URL: withUser})
			if err == nil {
				t.Fatalf("no error, %+v", f)
			}
			if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "hunter2") ||
				strings.Contains(text, "redirected@") {
				t.Errorf("%v, want %q and no credentials", err, want)
			}
			if left := fetchtest.Leftovers(t, c.kept); left != nil {
				t.Errorf("left behind: %v", left)
			}
			if files, _ := os.ReadDir(c.kept.Entry(shelf.Files, "")); len(files) > 0 {
				t.Errorf("kept: %v", files)
			}
		})
	}
}

func TestCancelledDownloadLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	because := errors.New("because")
	url, _ := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "some")
		http.NewResponseController(w).Flush() //nolint:errcheck // the client notices
		cancel(because)
		<-r.Context().Done()
	})
	c := openCache(t)
	if _, err := c.Get(ctx, Request{URL: url + "/x"}); !errors.Is(err, because) {
		t.Errorf("%v, want the cause", err)
	}
	if left := fetchtest.Leftovers(t, c.kept); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestCredentialsGoToTheirHostOnly(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]string{}
	note := func(where string, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[where] = r.Header.Get("Authorization") + r.Header.Get("Referer")
	}
	other, _ := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) { note("other", r) })
	url, _ := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/here" {
			note("here", r)
			return
		}
		note("first", r)
		if r.URL.Path == "/away" {
			http.Redirect(w, r, other, http.StatusFound)
			return
		}
		http.Redirect(w, r, "/here", http.StatusFound)
	})
	basic := basicAuth("user", "pass")
	withUser := strings.Replace(url, "://", "://user:pass@", 1)
	secret := func(name, value string) func(string) ([]byte, bool) {
		return func(id string) ([]byte, bool) { return []byte(value), id == name }
	}
	for _, test := range []struct {
		name string
		r    Request
		want map[string]string
	}{
		{"none", Request{URL: url + "/x"}, map[string]string{"first": "", "here": ""}},
		{"URL", Request{URL: withUser + "/x"}, map[string]string{"first": basic, "here": basic}},
		{"away", Request{URL: withUser + "/away"}, map[string]string{"first": basic, "other": ""}},
		{"token", Request{URL: url + "/away", Secrets: secret("HTTP_AUTH_TOKEN_127.0.0.1", "tok\n")},
			map[string]string{"first": "Bearer tok", "other": ""}},
		{"header", Request{URL: withUser + "/x", Secrets: secret("HTTP_AUTH_HEADER_127.0.0.1", "Digest x")},
			map[string]string{"first": "Digest x", "here": "Digest x"}},
		{"other host's", Request{URL: url + "/x", Secrets: secret("HTTP_AUTH_TOKEN_example.com", "tok")},
			map[string]string{"first": "", "here": ""}},
	} {
		seen = map[string]string{}
		c := openCache(t)
		c.mustGet(t, test.r)
		if diff := cmp.Diff(test.want, seen); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
		fetchtest.HoldsNo(t, c.kept.Path(), "pass", "user:", "tok")
	}
}

func TestConcurrentDownloadsShareOne(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("x", 1<<20)
	var bodies atomic.Int64
	url, _ := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		bodies.Add(1)
		fmt.Fprint(w, content)
	})
	first := openCache(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			c, err := reopen(first) // as another process would
			if err != nil {
				t.Error(err)
				return
			}
			f, err := c.Get(t.Context(), Request{URL: url + "/x"})
			if err != nil {
				t.Error(n, err)
				return
			}
			if text, err := os.ReadFile(f.Path); err != nil || string(text) != content {
				t.Errorf("%d: %d bytes, %v", n, len(text), err)
			}
			if err := f.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if bodies.Load() != 1 {
		t.Errorf("downloaded %d times", bodies.Load())
	}
}
