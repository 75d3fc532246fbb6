package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func noise(n int) []byte {
	text := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(text)
	return text
}

func describe(text []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(text),
		Size: int64(len(text))}
}

// send pushes a blob.
func send(ctx context.Context, to *registry.Destination, text []byte, from ...string) error {
	d := describe(text)
	u, err := to.Begin(ctx, d, from)
	if err != nil || u == nil {
		return err
	}
	var last atomic.Int64
	if err := u.Send(ctx, bytes.NewReader(text), func(done int64) { last.Store(done) }); err != nil {
		return err
	}
	if got := last.Load(); got != d.Size {
		return fmt.Errorf("told of %d bytes in the end, not %d", got, d.Size)
	}
	return nil
}

func destination(t *testing.T, f *fake, o registry.Options, name string) *registry.Destination {
	t.Helper()
	to, err := client(t, f, o).Destination(registrytest.Ref(t, f.host()+"/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// wantBlob checks that a repository has a blob.
func (f *taker) wantBlob(t *testing.T, repo string, text []byte) {
	t.Helper()
	f.fake.mu.Lock()
	defer f.fake.mu.Unlock()
	if got := f.content["/v2/"+repo+"/blobs/"+digest.FromBytes(text).String()]; !bytes.Equal(got, text) {
		t.Errorf("%s has %d bytes of the blob's %d", repo, len(got), len(text))
	}
}

func TestBlobsAreSentOnceAndMountedFromOtherRepositories(t *testing.T) {
	registrytest.Home(t, "")
	f := newTaker(t)
	to := destination(t, f.fake, registry.Options{}, "lib/app")
	for _, text := range [][]byte{nil, []byte("x"), noise(1 << 20), noise(3 << 20)} {
		d := describe(text)
		if has, err := to.Has(t.Context(), d); has || err != nil {
			t.Errorf("%d bytes: is there already: %v, %v", d.Size, has, err)
		}
		registrytest.Wants(t, send(t.Context(), to, text))
		f.wantBlob(t, "lib/app", text)
		if has, err := to.Has(t.Context(), d); !has || err != nil {
			t.Errorf("%d bytes: is not there: %v, %v", d.Size, has, err)
		}
		d.Size++
		_, err := to.Has(t.Context(), d)
		registrytest.Wants(t, err, "says that it has", d.Digest.String())
	}
	if n := f.asked("PATCH /v2/lib/app/blobs/uploads/4"); n != 1 {
		t.Errorf("the large blob was sent in %d pieces", n)
	}
	other := destination(t, f.fake, registry.Options{}, "lib/other")
	registrytest.Wants(t, send(t.Context(), other, noise(3<<20), "lib/none", "lib/other", "lib/app"))
	f.wantBlob(t, "lib/other", noise(3<<20))
	if f.sent("/v2/lib/other/") || len(f.uploads) != 0 {
		t.Error("a mounted blob was sent, or an upload was left open")
	}
	registrytest.Wants(t, send(t.Context(), other, []byte("new"), "lib/none"))
	f.wantBlob(t, "lib/other", []byte("new"))
}

func TestAManifestIsPutAndFound(t *testing.T) {
	registrytest.Home(t, "")
	f := newTaker(t)
	to := destination(t, f.fake, registry.Options{}, "lib/app")
	_, err := to.Manifest(t.Context(), "1")
	registrytest.Wants(t, err, "404")
	text := []byte(`{"schemaVersion":2}`)
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(text),
		Size: int64(len(text))}
	registrytest.Wants(t, to.PutManifest(t.Context(), "1", d, text))
	if got, err := to.Manifest(t.Context(), "1"); got != d.Digest { // this registry doesn't say it in a header
		t.Errorf("%s, %v", got, err)
	}
	d.Digest = digest.FromString("other")
	registrytest.Wants(t, to.PutManifest(t.Context(), "1", d, text), "has taken the manifest")
}

func TestUploadsThatBreak(t *testing.T) {
	text := noise(5 << 20)
	is := func(r *http.Request, method string) bool {
		return r.Method == method && strings.Contains(r.URL.Path, "/blobs/uploads/")
	}
	id := func(r *http.Request) string { return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] }
	status := func(code int) func(*taker, http.ResponseWriter, *http.Request) {
		return func(_ *taker, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(code)
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 8<<20)) // more than anybody wants to read
		}
	}
	// A server that has not read a request to its end waits for half a second before it closes the connection. All are
	// closed in the end, when they have waited beside each other.
	all := t
	for _, c := range []struct {
		name   string
		method string
		// times is how many requests of the method meet the fault.
		times int32
		fault func(f *taker, w http.ResponseWriter, r *http.Request)
		loses bool
		most  int64
		// answer is how long the registry may take to answer after the last byte; 0: as long as elsewhere.
		answer time.Duration
		errs   []string
	}{
		{name: "a reset", method: "PATCH", times: 3,
			fault: func(f *taker, _ http.ResponseWriter, r *http.Request) { f.breakOff(r, 1<<20, id(r)) }},
		{name: "a reset after which the upload is lost", method: "PATCH", times: 2, loses: true,
			fault: func(f *taker, _ http.ResponseWriter, r *http.Request) { f.breakOff(r, 1<<20, id(r)) }},
		{name: "resets without end", method: "PATCH", times: 1000,
			fault: func(f *taker, _ http.ResponseWriter, r *http.Request) { f.breakOff(r, 0, id(r)) },
			errs:  []string{"failed 5 times"}},
		{name: "a reset before the answer to the end", method: "PUT", times: 1,
			fault: func(f *taker, _ http.ResponseWriter, r *http.Request) {
				f.take(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}},
		{name: "too many requests", method: "PATCH", times: 2, fault: status(429)},
		{name: "too many requests at the beginning", method: "POST", times: 2, fault: status(429)},
		{name: "a gateway without a registry", method: "PATCH", times: 2, fault: status(502)},
		{name: "a registry that fails at the end", method: "PUT", times: 2, fault: status(500)},
		{name: "a registry that always fails", method: "PATCH", times: 1000, fault: status(503), errs: []string{"503"}},
		{name: "denied", method: "PATCH", times: 1, fault: status(403), errs: []string{"403"}},
		{name: "denied at the beginning", method: "POST", times: 1, fault: status(403), errs: []string{"403"}},
		{name: "only whole blobs", method: "PATCH", times: 1, fault: status(405)},
		{name: "small bodies only", most: 1 << 20},
		{name: "no bodies", most: 1, errs: []string{"413"}},
		{name: "wrong bytes", method: "PATCH", times: 1, fault: func(f *taker, w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("?"), r.Body))
			f.take(w, r)
		}},
		{name: "always wrong bytes", method: "PATCH", times: 1000, fault: func(f *taker, w http.ResponseWriter,
			r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("?"), r.Body))
			f.take(w, r)
		}, errs: []string{"DIGEST_INVALID", "failed 5 times"}},
		{name: "less than was sent", method: "PATCH", times: 1, fault: func(f *taker, w http.ResponseWriter,
			r *http.Request) {
			body := r.Body
			r.Body = io.NopCloser(io.LimitReader(body, 1<<20))
			f.take(w, r)
			_, _ = io.Copy(io.Discard, body)
		}},
		{name: "a range that nobody sent", method: "PATCH", times: 1000, fault: func(_ *taker, w http.ResponseWriter,
			r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Range", "0-99999999")
			w.WriteHeader(http.StatusAccepted)
		}, errs: []string{`has bytes "0-99999999"`}},
		{name: "a range that never grows", method: "PATCH", times: 1000, fault: func(_ *taker, w http.ResponseWriter,
			r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Range", "0-0")
			w.WriteHeader(http.StatusAccepted)
		}, errs: []string{"has taken nothing", "failed 5 times"}},
		{name: "an address that is none", method: "POST", times: 1, fault: func(_ *taker, w http.ResponseWriter,
			_ *http.Request) {
			w.Header().Set("Location", "ftp://x\u001b/y")
			w.WriteHeader(http.StatusAccepted)
		}},
		{name: "never an address", method: "POST", times: 1000, fault: func(_ *taker, w http.ResponseWriter,
			_ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
		}, errs: []string{"the address"}},
		{name: "a redirect to itself", method: "PATCH", times: 1000, fault: func(_ *taker, w http.ResponseWriter,
			r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}, errs: []string{"redirects without end"}},
		{name: "a stall", method: "PATCH", times: 1000, fault: func(f *taker, _ http.ResponseWriter, _ *http.Request) {
			<-f.over
		}, errs: []string{"nothing was taken for", "failed 5 times"}},
		{name: "no answer to the end", method: "PUT", times: 1000, answer: 50 * time.Millisecond, fault: func(f *taker,
			_ http.ResponseWriter, _ *http.Request) {
			<-f.over
		}, errs: []string{"no answer for", "failed 5 times"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			registrytest.Home(t, "")
			f := newTaker(all)
			f.loses, f.most = c.loses, c.most
			var seen atomic.Int32
			f.faulty(func(w http.ResponseWriter, r *http.Request) bool {
				if c.fault == nil || !is(r, c.method) || seen.Add(1) > c.times {
					return false
				}
				c.fault(f, w, r)
				return true
			})
			to := destination(t, f.fake, registry.Options{}, "lib/app")
			if c.answer > 0 {
				to.AnswerWithin(c.answer)
			}
			registrytest.Wants(t, send(t.Context(), to, text), c.errs...)
			if len(c.errs) == 0 {
				f.wantBlob(t, "lib/app", text)
			}
		})
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAnUploadEndsWithItsContext(t *testing.T) {
	registrytest.Home(t, "")
	f := newTaker(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.faulty(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			cancel()
			<-f.over
		}
		return false
	})
	to := destination(t, f.fake, registry.Options{}, "lib/app")
	if err := send(ctx, to, noise(3<<20)); err == nil || ctx.Err() == nil {
		t.Errorf("%v", err)
	}
	if len(f.uploads) != 0 {
		t.Error("the registry was not told that nothing more comes")
	}
}

// tokens makes a token server that knows one user, and counts what it gave for a scope.
func tokens(t *testing.T, f *taker, lives int32) (realm string, scopes func() []string) {
	t.Helper()
	var (
		mu     sync.Mutex
		all    []string
		uses   = map[string]int32{}
		server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if user != "ann" || password != "secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, strings.Join(r.URL.Query()["scope"], " "))
			token := fmt.Sprint("t", len(all))
			uses[token] = lives
			_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300})
		}))
	)
	server.StartTLS()
	t.Cleanup(server.Close)
	f.faulty(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" { // to find out whether there is HTTPS
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if uses[token] > 0 {
			uses[token]--
			return false
		}
		scope := "repository:" + strings.Join(strings.Split(r.URL.Path, "/")[2:4], "/") + ":pull"
		if r.Method != http.MethodHead && r.Method != http.MethodGet {
			scope += ",push"
		}
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test",scope=%q`, server.URL+"/token", scope))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	return server.URL + "/token", func() []string { mu.Lock(); defer mu.Unlock(); return all }
}

func TestATokenIsAskedForPushingAtOnceAndRenewed(t *testing.T) {
	dir := registrytest.Home(t, "")
	f := newTaker(t)
	f.blob("lib/base", "", []byte("base"))
	_, scopes := tokens(t, f, 3)
	registrytest.Write(t, dir+"/run/containers/auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host(),
		encoded("ann", "secret")))
	to := destination(t, f.fake, registry.Options{Insecure: true}, "lib/app")
	_, err := to.Manifest(t.Context(), "1")
	registrytest.Wants(t, err, "404")
	registrytest.Wants(t, send(t.Context(), to, noise(3<<20))) // POST, PATCH, and no use left for the PUT
	f.wantBlob(t, "lib/app", noise(3<<20))
	registrytest.Wants(t, send(t.Context(), to, []byte("base"), "lib/base"))
	want := []string{"repository:lib/app:pull,push", "repository:lib/app:pull,push",
		"repository:lib/app:pull,push repository:lib/base:pull"}
	if got := scopes(); strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("asked for %q", got)
	}
}

func TestUploadsElsewhereShowNobodyWhoAsks(t *testing.T) {
	for _, how := range []string{"redirect", "location"} {
		t.Run(how, func(t *testing.T) {
			registrytest.Home(t, "")
			var shown atomic.Bool
			var got atomic.Int64
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					shown.Store(true)
				}
				n, _ := io.Copy(io.Discard, r.Body)
				got.Add(n)
				if r.Method == http.MethodPut {
					w.WriteHeader(http.StatusCreated)
					return
				}
				w.WriteHeader(http.StatusAccepted)
			}))
			t.Cleanup(elsewhere.Close)
			f := newTaker(t)
			f.faulty(func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.Header.Get("Authorization") == "":
					w.Header().Set("Www-Authenticate", "Basic")
					w.WriteHeader(http.StatusUnauthorized)
				case how == "location" && r.Method == http.MethodPost:
					w.Header().Set("Location", elsewhere.URL+"/upload")
					w.WriteHeader(http.StatusAccepted)
				case how == "redirect" && (r.Method == http.MethodPatch || r.Method == http.MethodPut):
					_, _ = io.CopyN(io.Discard, r.Body, 100)
					http.Redirect(w, r, elsewhere.URL+"/upload", http.StatusTemporaryRedirect)
				default:
					return false
				}
				return true
			})
			o := registry.Options{Insecure: true, Username: "ann", Password: "secret"}
			registrytest.Wants(t, send(t.Context(), destination(t, f.fake, o, "lib/app"), noise(3<<20)))
			if shown.Load() || got.Load() != 3<<20 {
				t.Errorf("another host was shown the password: %v; it got %d bytes", shown.Load(), got.Load())
			}
			o = registry.Options{Username: "ann", Password: "secret"}
			registrytest.Wants(t, send(t.Context(), destination(t, f.fake, o, "lib/app"), noise(3<<20)), "not secure")
		})
	}
}

func TestRegistriesThatNobodyMayPushTo(t *testing.T) {
	registrytest.Home(t, "[[registry]]\nlocation = \"blocked.test\"\nblocked = true\n")
	c := client(t, nil, registry.Options{})
	_, err := c.Destination(registrytest.Ref(t, "blocked.test/app"))
	registrytest.Wants(t, err, "registries.conf blocks blocked.test")
}
