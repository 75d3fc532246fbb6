package registry_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// taker is a registry that takes what is pushed.
type taker struct {
	*fake
	mu      sync.Mutex
	uploads map[string][]byte
	// loses says that an upload is forgotten when it breaks.
	loses bool
	last  int
	// most is the largest body that it takes, 0: any.
	most int64
	// over is closed when the test ends.
	over chan struct{}
}

func newTaker(t *testing.T) *taker {
	t.Helper()
	f := &taker{fake: newFake(t), uploads: map[string][]byte{}, over: make(chan struct{})}
	t.Cleanup(func() { close(f.over) })
	f.before = f.take
	return f
}

// faulty has a fault answer requests before the registry does. It tells whether it has.
func (f *taker) faulty(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.before = func(w http.ResponseWriter, r *http.Request) bool { return fault(w, r) || f.take(w, r) }
}

func (f *taker) take(w http.ResponseWriter, r *http.Request) bool {
	repo, rest, uploads := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/uploads/")
	switch {
	case uploads && r.Method == http.MethodPost:
		f.begin(w, r, repo)
	case uploads:
		f.goOn(w, r, repo, rest)
	case strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodPut:
		text, _ := io.ReadAll(r.Body)
		f.fake.mu.Lock()
		f.content[r.URL.Path], f.types[r.URL.Path] = text, r.Header.Get("Content-Type")
		f.fake.mu.Unlock()
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(text).String())
		w.WriteHeader(http.StatusCreated)
	default:
		return false
	}
	return true
}

func (f *taker) begin(w http.ResponseWriter, r *http.Request, repo string) {
	from, mount := r.URL.Query().Get("from"), r.URL.Query().Get("mount")
	f.fake.mu.Lock()
	text, ok := f.content["/v2/"+from+"/blobs/"+mount]
	f.fake.mu.Unlock()
	if ok {
		f.blob(repo, "", text)
		w.WriteHeader(http.StatusCreated)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	f.uploads[strconv.Itoa(f.last)] = nil
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%d?state=x%%2Fy", repo, f.last))
	w.WriteHeader(http.StatusAccepted)
}

func (f *taker) goOn(w http.ResponseWriter, r *http.Request, repo, id string) {
	f.mu.Lock()
	have, ok := f.uploads[id]
	f.mu.Unlock()
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		return
	case f.most > 0 && r.ContentLength > f.most:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case r.Method == http.MethodDelete:
		f.forget(id)
		return
	}
	if at, _, ranged := strings.Cut(r.Header.Get("Content-Range"), "-"); ranged && at != strconv.Itoa(len(have)) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	text, err := io.ReadAll(r.Body)
	have = append(have, text...)
	f.mu.Lock()
	if _, ok = f.uploads[id]; ok { // it may have been cancelled meanwhile
		f.uploads[id] = have
	}
	f.mu.Unlock()
	if err != nil && f.loses {
		f.forget(id)
	}
	if r.Method == http.MethodPut {
		sum := digest.FromBytes(have)
		if r.URL.Query().Get("digest") != sum.String() || r.URL.Query().Get("state") != "x/y" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}`)
			return
		}
		f.blob(repo, "", have)
		f.forget(id)
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(have)-1)))
	if r.Method == http.MethodGet {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// sent tells whether something was sent to an upload below a path.
func (f *taker) sent(path string) bool {
	f.fake.mu.Lock()
	defer f.fake.mu.Unlock()
	return slices.ContainsFunc(f.requests, func(r string) bool {
		return strings.HasPrefix(r, "PATCH "+path) || strings.HasPrefix(r, "PUT "+path)
	})
}

func (f *taker) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.uploads, id)
}

// breakOff reads some of a request and breaks its connection.
func (f *taker) breakOff(r *http.Request, n int64, id string) {
	text, _ := io.ReadAll(io.LimitReader(r.Body, n))
	f.mu.Lock()
	if _, ok := f.uploads[id]; ok {
		f.uploads[id] = append(f.uploads[id], text...)
	}
	f.mu.Unlock()
	if f.loses {
		f.forget(id)
	}
	panic(http.ErrAbortHandler)
}
