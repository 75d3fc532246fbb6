package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/internal/patience"
)

// clock is one that goes on by a step whenever it is looked at.
func clock(step time.Duration) func() time.Time {
	var looks atomic.Int64
	return func() time.Time { return time.Unix(0, 0).Add(time.Duration(looks.Add(1)) * step) }
}

// dribble sends a text in small pieces, each when the client has had the time to read the one before, and then waits
// for the client to go.
func dribble(text []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		for i := range text {
			if _, err := w.Write(text[i : i+1]); err != nil {
				return
			}
			if http.NewResponseController(w).Flush() != nil || r.Context().Err() != nil {
				return
			}
		}
	}
}

func TestADownloadWithoutProgressEnds(t *testing.T) {
	layer := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	stand := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(layer)))
		_, _ = w.Write(layer[:100])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	second := patience.Limits{Stall: time.Hour, Idle: time.Hour, Window: 10 * time.Second, Least: 1 << 40}
	for _, c := range []struct {
		name, part string
		answer     http.HandlerFunc
		limits     patience.Limits
		step       time.Duration
		want       []string
		// asked is how often, 0 if that is open.
		asked int
	}{
		{"slow blob", "/blobs/", dribble(layer), second, time.Second, []string{"the download of sha256:", "too slow",
			"bytes came in 1", "hint: try again"}, 1},
		{"slow manifest", "/manifests/", dribble([]byte("{" + strings.Repeat(" ", 4000) + "}")), second, time.Second,
			[]string{"the answer of", "too slow", "bytes came in 1", "hint: try again"}, 1},
		{"slow text of an error", "/manifests/", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
			}
		}, second, time.Second, []string{"403"}, 1},
		{"standing blob", "/blobs/", stand, patience.Limits{Stall: 50 * time.Millisecond, Idle: 4 * time.Hour,
			Window: 1000 * time.Hour}, time.Hour,
			[]string{"the download of sha256:", "after 100 of", "nothing came for 50ms", "hint: try again"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			registrytest.Home(t, "")
			f := newFake(t)
			f.image("lib/app", "1", []byte("x"), amd64())
			d := f.blob("lib/app", ocispec.MediaTypeImageLayer, layer)
			var asked atomic.Int32
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, c.part) {
					return false
				}
				asked.Add(1)
				c.answer(w, r)
				return true
			}
			slow := client(t, f, registry.Options{})
			slow.Limit(c.limits, clock(c.step))
			remote, err := slow.Resolve(t.Context(), registrytest.Ref(t, f.host()+"/lib/app:1"))
			if err == nil {
				_, err = fetch(t.Context(), remote, d)
			}
			registrytest.Wants(t, err, c.want...)
			if n := int(asked.Load()); c.asked > 0 && n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
		})
	}
}

func TestAnAnswerThatIsCutIsAskedForAgain(t *testing.T) {
	registrytest.Home(t, "")
	f := newFake(t)
	f.image("lib/app", "1", []byte("x"), amd64())
	text := f.content["/v2/lib/app/manifests/1"]
	whole := map[bool]string{true: "with its length", false: "without"}
	for _, c := range []struct {
		part string
		// times is how often the answer is cut, length whether its length is told before.
		times  int32
		length bool
		want   []string
	}{
		{"/manifests/", 3, true, nil}, {"/manifests/", 3, false, nil}, {"/token", 3, false, nil}, {"/token", 3, true, nil},
		{"/manifests/", 1 << 20, true, []string{"the answer of", "broke off after 20 bytes", "tried 5 times"}},
		{"/manifests/", 1 << 20, false, []string{"the answer of", "ends in the middle, after 20 bytes", "tried 5 times"}},
	} {
		t.Run(fmt.Sprint(c.part, c.times, whole[c.length]), func(t *testing.T) {
			var seen atomic.Int32
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				token, err := json.Marshal(map[string]string{"token": strings.Repeat("t", 30)})
				if err != nil {
					t.Error(err)
				}
				answer := map[string][]byte{"/manifests/": text, "/token": token}[c.part]
				switch {
				case strings.Contains(r.URL.Path, c.part) && seen.Add(1) <= c.times:
					if c.length {
						w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
					}
					_, _ = w.Write(answer[:20])
					w.(http.Flusher).Flush()
					if c.length {
						panic(http.ErrAbortHandler)
					}
				case r.URL.Path == "/token":
					_, _ = w.Write(token)
				case c.part == "/token" && r.Header.Get("Authorization") == "":
					w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, f.URL))
					w.WriteHeader(http.StatusUnauthorized)
				default:
					return false
				}
				return true
			}
			_, _, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/lib/app:1"))
			registrytest.Wants(t, err, c.want...)
		})
	}
}
