package shared_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/objects/objectstest"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// light is a machine whose layers are texts, without a store.
type light struct {
	room    *shared.Room
	notes   *roottest.Events
	records *cache.Cache
	kept    *blobs.Room
	met     []shared.Met
	pulled  map[digest.Digest]string
}

func newLight(t *testing.T, p places, patience time.Duration) *light {
	t.Helper()
	m := &light{notes: &roottest.Events{}, pulled: map[digest.Digest]string{}}
	var err error
	if m.records, err = cache.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	m.kept = blobs.New(blobs.Options{Cache: m.records, Dir: filepath.Join(t.TempDir(), "remote"), Offline: true})
	t.Cleanup(m.kept.Close)
	o := shared.Options{
		Progress: m.notes, Shown: progress.NewAsides(m.notes), Patience: patience,
		Spool: func() (*os.File, error) { return outfile.Unnamed(t.TempDir()) },
		Pull: func(ctx context.Context, src content.Fetcher, diffIDs []digest.Digest, all []ocispec.Descriptor,
			_ func(string, int64, int64)) error {
			for i, d := range all {
				text, err := content.ReadAll(ctx, src, d, 1<<20)
				if err != nil {
					return err
				}
				m.pulled[diffIDs[i]] = string(text)
			}
			return nil
		},
	}
	for _, text := range p.from {
		o.From = append(o.From, specs(t, sharedcache.From, text)...)
	}
	for _, text := range p.to {
		o.To = append(o.To, specs(t, sharedcache.To, text)...)
	}
	m.open(t, o)
	return m
}

func (m *light) open(t *testing.T, o shared.Options) {
	t.Helper()
	m.room = shared.New(t.Context(), o)
	t.Cleanup(m.room.Close)
}

func lightKey(name string) cache.Key { return cache.NewKey(name).Key() }

// does has the machine do a step whose layer is its name, and saves what it has done.
func (m *light) does(t *testing.T, name string) error {
	t.Helper()
	d := digest.FromString(name)
	key := lightKey(name)
	if err := m.records.Put(key, cache.Record{Content: d, Created: time.Now(),
		Layer: &cache.Layer{ID: name, DiffID: d, Size: int64(len(name))}}); err != nil {
		t.Fatal(err)
	}
	m.met = append(m.met, shared.Met{Shape: key, Key: key})
	return m.room.Save(t.Context(), shared.SaveOptions{Met: m.met, Records: m.records, Keep: m.kept.For,
		Layer: func(l cache.Layer) (export.Blob, bool) {
			return export.Blob{ID: l.ID, DiffID: l.DiffID, Size: l.Size,
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(l.ID)), nil }}, true
		}})
}

// finds tells whether a place has a step.
func (m *light) finds(t *testing.T, name string) bool {
	t.Helper()
	return m.room.Seen(t.Context(), lightKey(name)) && m.room.Find(t.Context(), lightKey(name)) != nil
}

// takes fetches the layer of a step.
func (m *light) takes(t *testing.T, name string) error {
	t.Helper()
	d := digest.FromString(name)
	return m.room.Bring(t.Context(), []cache.Layer{{DiffID: d, Size: int64(len(name))}})
}

func (m *light) says(t *testing.T, text string) {
	t.Helper()
	if all := m.notes.Text(); !strings.Contains(all, text) {
		t.Errorf("%q is not among the notes:\n%s", text, all)
	}
}

// filledStore has the results of the steps.
func filledStore(t *testing.T, server *objectstest.Server, steps ...string) {
	t.Helper()
	m := newLight(t, places{to: []string{server.Place(",compression=uncompressed")}}, 0)
	for _, name := range steps {
		if err := m.does(t, name); err != nil {
			t.Fatal(server.Kind, err)
		}
	}
}

func TestAStoreGivesAnotherMachineWhatItHas(t *testing.T) {
	t.Parallel()
	for _, server := range objectstest.All(t) {
		m := newMachine(t, places{to: []string{server.Place(",mode=max")}}, nil)
		r, _ := m.chain(t, "one", "nothing", "two")
		if err := m.save(t); err != nil {
			t.Fatal(server.Kind, err)
		}
		next := newMachine(t, places{from: []string{server.Place("")}}, nil)
		again, cached := next.chain(t, "one", "nothing", "two")
		if cached != "yyy" || again.Top() != r.Top() || next.List(t, again) != "one=one two=two" {
			t.Errorf("%s: cached %s:\n%s", server.Kind, cached, next.notes.Text())
		}
	}
}

func TestManyWritersToAStoreLoseNothing(t *testing.T) {
	t.Parallel()
	for _, server := range objectstest.All(t) {
		names := []string{"one", "two", "three", "four"}
		var all sync.WaitGroup
		for _, name := range names {
			m := newLight(t, places{to: []string{server.Place("")}}, 0)
			all.Go(func() {
				if err := m.does(t, name); err != nil {
					t.Error(server.Kind, err)
				}
			})
		}
		all.Wait()
		m := newLight(t, places{from: []string{server.Place("")}}, 0)
		for _, name := range names {
			if !m.finds(t, name) {
				t.Errorf("%s: %s is lost", server.Kind, name)
			}
		}
	}
}

func TestAThousandLookUpsTakeFewRequests(t *testing.T) {
	t.Parallel()
	for _, server := range objectstest.All(t) {
		filledStore(t, server, "one")
		server.Requests()
		next := newLight(t, places{from: []string{server.Place("")}}, 0)
		for i := range 1000 {
			if next.finds(t, fmt.Sprint(i)) {
				t.Fatal(server.Kind, i)
			}
		}
		if n := server.Requests(); n > 4 {
			t.Errorf("%s: %d requests", server.Kind, n)
		}
	}
}

// TestAWriterThatEndsMidwayLeavesWhatWasThere has a server end a writer at each of its requests.
func TestAWriterThatEndsMidwayLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	for _, server := range objectstest.All(t) {
		filledStore(t, server, "one")
		ended := false
		for after := 0; !ended && after < 30; after++ {
			var mu sync.Mutex
			left := after
			server.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				left--
				if left < 0 {
					http.Error(w, "", http.StatusForbidden)
				}
				return left < 0
			})
			w := newLight(t, places{to: []string{server.Place(",ignore-error=true")}}, 0)
			if err := w.does(t, "two"); err != nil {
				t.Error(server.Kind, err)
			}
			ended = !strings.Contains(w.notes.Text(), "the cache was not written to")
			server.Fail(nil)
			next := newLight(t, places{from: []string{server.Place("")}}, 0)
			if !next.finds(t, "one") || next.takes(t, "one") != nil {
				t.Errorf("%s: after %d requests: %s", server.Kind, after, next.notes.Text())
			}
		}
		if !ended {
			t.Errorf("%s: a writer needs more than 30 requests", server.Kind)
		}
	}
}

// faults are what a store may do to who reads from it.
func faults() map[string]func(http.ResponseWriter, *http.Request) bool {
	answer := func(code int, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, text)
			return true
		}
	}
	return map[string]func(http.ResponseWriter, *http.Request) bool{
		"401": answer(401, ""), "403": answer(403, ""), "500": answer(500, ""), "204": answer(204, ""),
		"no JSON": answer(200, "hello"), "something else in JSON": answer(200, `{"ok":true,"outputFiles":[{}]}`),
		"endless": func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			for r.Method != http.MethodHead && r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
					break
				}
			}
			return true
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the client has gone
			<-r.Context().Done()
			return true
		},
		"gone": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/x",
				http.StatusFound)
			return true
		},
		"truncated": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
			return true
		},
	}
}

func TestAFaultOfAStoreCostsANoteAndTheStepIsRun(t *testing.T) {
	t.Parallel()
	for what, fault := range faults() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for _, server := range objectstest.All(t) {
				server.Fail(fault)
				patience := time.Duration(0)
				if what == "slow" {
					patience = 100 * time.Millisecond
				}
				m := newLight(t, places{from: []string{server.Place("")},
					to: []string{server.Place(",ignore-error=true")}}, patience)
				if m.finds(t, "one") {
					t.Errorf("%s: it is found", server.Kind)
				}
				m.says(t, "cache "+m.room.From[0].Where())
				if what == "slow" {
					continue // the patience of writers is longer
				}
				if err := m.does(t, "two"); err != nil {
					t.Errorf("%s: %v", server.Kind, err)
				}
			}
		})
	}
}

// TestDamagedBlobsOfAStoreAreNotTaken has stores lose, change and shorten layers and the index.
func TestDamagedBlobsOfAStoreAreNotTaken(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func([]byte) []byte{
		"lost":      func([]byte) []byte { return nil },
		"changed":   func(old []byte) []byte { return append([]byte("x"), old[1:]...) },
		"truncated": func(old []byte) []byte { return old[:len(old)/2] },
		"longer":    func(old []byte) []byte { return append(bytes.Clone(old), "more"...) },
	} {
		for _, server := range objectstest.All(t) {
			filledStore(t, server, "one", "two")
			begins := func(with string) func([]byte) []byte {
				return func(old []byte) []byte {
					if bytes.HasPrefix(old, []byte(with)) {
						return change(old)
					}
					return old
				}
			}
			server.Change("", begins("one"))
			next := newLight(t, places{from: []string{server.Place("")}}, 0)
			if !next.finds(t, "one") || next.takes(t, "one") == nil || next.finds(t, "two") {
				t.Errorf("%s: %s: a layer that is damaged is taken, or the place is asked again", server.Kind, what)
			}
			next.says(t, "it is not used any more")
			server.Change("", begins(`{"version"`))
			last := newLight(t, places{from: []string{server.Place("")}, to: []string{server.Place("")}}, 0)
			if last.finds(t, "one") {
				t.Errorf("%s: %s: an index that is damaged is read", server.Kind, what)
			}
			if err := last.does(t, "three"); err != nil && what != "lost" {
				t.Errorf("%s: %s: the index is not made anew: %v", server.Kind, what, err)
			}
		}
	}
}
