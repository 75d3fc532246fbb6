// Package objectstest gives tests stores of objects in memory that can be made to fail.
package objectstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Server is a store. It is safe for concurrent use.
type Server struct {
	*httptest.Server
	// Kind is the type of the place.
	Kind string

	mu       sync.Mutex
	files    map[string][]byte
	requests int
	fault    func(w http.ResponseWriter, r *http.Request) bool
	// entries are those of the service, by key, in the order in which they were begun.
	entries map[string]*entry
	keys    []string
}

type entry struct{ done bool }

// The user who is let in.
const user, password = "me", "secret word"

// All begins a store of each kind, which end with the test.
func All(t *testing.T) []*Server {
	t.Helper()
	var all []*Server
	for _, kind := range []string{"http", "s3", "gha"} {
		all = append(all, New(t, kind))
	}
	return all
}

// New begins a store of a kind: http, s3 or gha.
func New(t *testing.T, kind string) *Server {
	t.Helper()
	s := &Server{Kind: kind, files: map[string][]byte{}, entries: map[string]*entry{}}
	serve := map[string]http.HandlerFunc{"http": s.plain, "s3": s.bucket, "gha": s.service}[kind]
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests++
		fault := s.fault
		s.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Place is the value of --cache-from and --cache-to that names the store; more is added to it.
func (s *Server) Place(more string) string {
	switch s.Kind {
	case "http":
		return "type=http,url=" + strings.Replace(s.URL, "://", "://"+user+":secret%20word@", 1) + "/team" + more
	case "s3":
		return "type=s3,bucket=box,region=eu-test-1,prefix=a b/,use_path_style=true,access_key_id=me,endpoint_url=" + s.URL +
			",secret_access_key=" + password + more
	}
	return "type=gha,token=" + base64.RawURLEncoding.EncodeToString([]byte(password)) + ",url_v2=" + s.URL + "/" + more
}

// Fail has a function answer requests, as long as it returns true; nil: none does.
func (s *Server) Fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Requests are how many came since the last call.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.requests
	s.requests = 0
	return n
}

// Names are those of all files.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}

// Change changes the files whose names have a text in them: nil removes a file.
func (s *Server) Change(named string, change func(old []byte) []byte) (changed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range s.files {
		if !strings.Contains(name, named) {
			continue
		}
		changed++
		if now := change(old); now == nil {
			delete(s.files, name)
		} else {
			s.files[name] = now
		}
	}
	return changed
}

func sum(text []byte) string {
	all := sha256.Sum256(text)
	return hex.EncodeToString(all[:])
}

// file answers a request for a file.
func (s *Server) file(w http.ResponseWriter, r *http.Request, name string) {
	old, there := s.files[name]
	tag := `"` + sum(old) + `"`
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if !there {
			http.Error(w, "NoSuchKey", http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Length", fmt.Sprint(len(old)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(old) // the client has gone if it can't be written
		}
	case http.MethodPut:
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client was ended
		}
		if match := r.Header.Get("If-Match"); match != "" && (!there || match != tag) ||
			there && r.Header.Get("If-None-Match") == "*" {
			http.Error(w, "it has changed", http.StatusPreconditionFailed)
			return
		}
		s.files[name] = text
		w.WriteHeader(http.StatusCreated)
	default:
		http.Error(w, r.Method, http.StatusMethodNotAllowed)
	}
}

// plain is a server as bazel-remote is one: it refuses blobs that are not what their name says, and results that are
// none.
func (s *Server) plain(w http.ResponseWriter, r *http.Request) {
	if name, word, ok := r.BasicAuth(); !ok || name != user || word != password {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/team/")
	kind, hash, _ := strings.Cut(name, "/")
	if _, err := hex.DecodeString(hash); !ok || err != nil || len(hash) != 2*sha256.Size || kind != "ac" && kind != "cas" {
		http.Error(w, "no such path "+r.URL.Path, http.StatusBadRequest)
		return
	}
	s.file(w, r, name)
	if r.Method != http.MethodPut {
		return
	}
	switch text := s.files[name]; kind {
	case "cas":
		if sum(text) != hash {
			delete(s.files, name)
		}
	case "ac": // field 2 of its message is there, and who has asked is added as field 9
		if len(text) == 0 || text[0] != 2<<3|2 {
			delete(s.files, name)
			return
		}
		s.files[name] = append(append([]byte{}, text...), 9<<3|2, 4, 1<<3|2, 2, 'm', 'e')
	}
}

// bucket is a server that speaks S3's protocol. It looks whether requests are signed, for whom, and for which body.
func (s *Server) bucket(w http.ResponseWriter, r *http.Request) {
	auth := r.Header.Get("Authorization")
	if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=me/") ||
		!strings.Contains(auth, "/eu-test-1/s3/aws4_request") ||
		!strings.Contains(auth, "host;") {
		http.Error(w, "<Code>AccessDenied</Code>", http.StatusForbidden)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/box/")
	if !ok {
		http.Error(w, "<Code>NoSuchBucket</Code>", http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPut {
		text, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("X-Amz-Content-Sha256") != sum(text) {
			http.Error(w, "<Code>XAmzContentSHA256Mismatch</Code>", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
	}
	s.file(w, r, name)
}

// service is GitHub's cache service and the store of its files.
func (s *Server) service(w http.ResponseWriter, r *http.Request) {
	if name, ok := strings.CutPrefix(r.URL.Path, "/files/"); ok {
		if r.URL.Query().Get("sig") != password || r.Header.Get("Authorization") != "" {
			http.Error(w, "the signature is none", http.StatusForbidden)
			return
		}
		s.blob(w, r, name)
		return
	}
	s.methods(w, r)
}

// methods are those of the service.
func (s *Server) methods(w http.ResponseWriter, r *http.Request) {
	method, ok := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/")
	if token := base64.RawURLEncoding.EncodeToString([]byte(password)); !ok || r.Method != http.MethodPost ||
		r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, `{"code":"unauthenticated"}`, http.StatusUnauthorized)
		return
	}
	var asked struct {
		Key, Version string
		Begin        []string `json:"restore_keys"`
		Size         int      `json:"size_bytes"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Key == "" || asked.Version == "" {
		http.Error(w, `{"code":"malformed"}`, http.StatusBadRequest)
		return
	}
	answer := map[string]any{"ok": false}
	switch method {
	case "CreateCacheEntry":
		if s.entries[asked.Key] == nil {
			s.entries[asked.Key] = &entry{}
			s.keys = append(s.keys, asked.Key)
			answer = map[string]any{"ok": true, "signed_upload_url": s.signed(asked.Key)}
		}
	case "FinalizeCacheEntryUpload":
		if e := s.entries[asked.Key]; e != nil && len(s.files[asked.Key]) == asked.Size {
			e.done = true
			answer = map[string]any{"ok": true, "entry_id": "7"}
		}
	case "GetCacheEntryDownloadURL":
		for _, key := range slices.Backward(s.keys) {
			begins := slices.ContainsFunc(asked.Begin, func(b string) bool { return strings.HasPrefix(key, b) })
			if s.entries[key].done && (key == asked.Key || begins) && s.files[key] != nil {
				answer = map[string]any{"ok": true, "signed_download_url": s.signed(key), "matched_key": key}
				break
			}
		}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client has gone if it can't be written
}

func (s *Server) signed(key string) string {
	return s.URL + "/files/" + strings.ReplaceAll(key, "#", "%23") + "?sig=secret%20word"
}

// blob is a block blob of Azure.
func (s *Server) blob(w http.ResponseWriter, r *http.Request, name string) {
	query := r.URL.Query()
	switch query.Get("comp") {
	case "block":
		s.file(w, r, name+"|"+query.Get("blockid"))
	case "blocklist":
		var list struct {
			Latest []string
		}
		if err := xml.NewDecoder(r.Body).Decode(&list); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, id := range list.Latest {
			s.files[name] = append(s.files[name], s.files[name+"|"+id]...)
			delete(s.files, name+"|"+id)
		}
		w.WriteHeader(http.StatusCreated)
	default:
		if r.Method == http.MethodPut && r.Header.Get("x-ms-blob-type") != "BlockBlob" {
			http.Error(w, "x-ms-blob-type is missing", http.StatusBadRequest)
			return
		}
		s.file(w, r, name)
	}
}
