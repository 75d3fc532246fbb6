package registrytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Server is a registry in memory, on the loopback interface and without TLS.
type Server struct {
	*httptest.Server
	// Refuse may answer a request in place of the registry, and tells whether it has. It is set between requests.
	Refuse func(w http.ResponseWriter, r *http.Request) bool

	mu sync.Mutex
	// content is by path; uploads are those that were begun and neither ended nor cancelled; asked are the requests.
	content map[string][]byte
	uploads map[string][]byte
	begun   int
	asked   []string
}

// New starts a server that ends with the test.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{content: map[string][]byte{}, uploads: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// Host is the server's address as it is in names of images.
func (s *Server) Host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.Refuse != nil && s.Refuse(w, r) {
		return
	}
	if repo, _, upload := strings.Cut(r.URL.Path, "blobs/uploads/"); upload {
		s.upload(w, r, repo)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut {
		s.content[r.URL.Path], _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		return
	}
	text, ok := s.content[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if strings.Contains(r.URL.Path, "/manifests/") {
		var m struct{ MediaType string }
		_ = json.Unmarshal(text, &m)
		w.Header().Set("Content-Type", m.MediaType)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(text).String())
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = w.Write(text)
}

// upload answers the requests of an upload into a repository.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, repo string) {
	query := r.URL.Query()
	body, err := io.ReadAll(r.Body) // without the lock: it may take long to come
	s.mu.Lock()
	defer s.mu.Unlock()
	had, known := s.uploads[r.URL.Path]
	switch {
	case r.Method == http.MethodPost:
		if text, ok := s.content["/v2/"+query.Get("from")+"/blobs/"+query.Get("mount")]; ok {
			s.content[repo+"blobs/"+query.Get("mount")] = text
			w.WriteHeader(http.StatusCreated)
			return
		}
		s.begun++
		at := fmt.Sprint(repo, "blobs/uploads/", s.begun)
		s.uploads[at] = nil
		w.Header().Set("Location", at)
		w.WriteHeader(http.StatusAccepted)
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.uploads, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet:
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(had)-1)))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPatch:
		s.uploads[r.URL.Path] = append(had, body...)
		if err != nil {
			return
		}
		w.Header().Set("Location", r.URL.Path)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(had)+len(body)-1)))
		w.WriteHeader(http.StatusAccepted)
	default:
		text := append(had, body...)
		if want := query.Get("digest"); err != nil || digest.FromBytes(text).String() != want {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.content[repo+"blobs/"+query.Get("digest")] = text
		delete(s.uploads, r.URL.Path)
		w.WriteHeader(http.StatusCreated)
	}
}

// Requests are those since the last call, as "METHOD PATH", that begin with a text; all others are forgotten.
func (s *Server) Requests(first string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		if strings.HasPrefix(r, first) {
			all = append(all, r)
		}
	}
	s.asked = nil
	return all
}

// Uploads are the paths of the uploads that were begun and neither ended nor cancelled.
func (s *Server) Uploads() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.uploads {
		all = append(all, at)
	}
	slices.Sort(all)
	return all
}

// Content is what the server has at a path such as "lib/app/manifests/1"; nil: nothing.
func (s *Server) Content(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content["/v2/"+path]
}

// Set puts content at a path, or removes it if it is nil.
func (s *Server) Set(path string, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content["/v2/"+path] = text; text == nil {
		delete(s.content, "/v2/"+path)
	}
}

// Manifest reads a manifest; nil: there is none.
func (s *Server) Manifest(path string) *ocispec.Manifest { return read[ocispec.Manifest](s, path) }

// Index reads an index; nil: there is none.
func (s *Server) Index(path string) *ocispec.Index { return read[ocispec.Index](s, path) }

func read[T any](s *Server, path string) *T {
	v := new(T)
	if json.Unmarshal(s.Content(path), v) != nil {
		return nil
	}
	return v
}

// References reads names of images.
func References(t *testing.T, names ...string) (all []reference.Reference) {
	t.Helper()
	for _, name := range names {
		r, err := reference.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}
