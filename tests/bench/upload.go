package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pushedMark begins the names of repositories that are pushed to; each has blobs of its own.
const pushedMark = "pushed-"

// blobPath is where a repository's blob is.
func (s *server) blobPath(name, blob string) string {
	d := digest.Digest(blob)
	if d.Validate() != nil {
		return filepath.Join(s.blobs.dir, "none")
	}
	if strings.HasPrefix(name, pushedMark) {
		return filepath.Join(s.blobs.dir, name+"-"+d.Encoded())
	}
	return filepath.Join(s.blobs.dir, d.Encoded())
}

// takes has the mux take pushes. Digests aren't checked: that would be the registry's time, not the pusher's.
func (s *server) takes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v2/{name}/blobs/uploads/{$}", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.CreateTemp(s.blobs.dir, "upload-")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = f.Close() // it is empty
		s.uploading(w, r.PathValue("name"), f.Name(), http.StatusAccepted)
	})
	mux.HandleFunc("PATCH /v2/{name}/blobs/uploads/{id}", func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(s.blobs.dir, filepath.Base(r.PathValue("id")))
		if err := appendBody(path, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.uploading(w, r.PathValue("name"), path, http.StatusAccepted)
	})
	mux.HandleFunc("PUT /v2/{name}/blobs/uploads/{id}", func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(s.blobs.dir, filepath.Base(r.PathValue("id")))
		err := appendBody(path, r.Body)
		if err == nil {
			err = os.Rename(path, s.blobPath(r.PathValue("name"), r.URL.Query().Get("digest")))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("PUT /v2/{name}/manifests/{ref}", s.takeManifest)
}

// uploading says where an upload goes on, and how much has come.
func (s *server) uploading(w http.ResponseWriter, name, path string, status int) {
	size := int64(0)
	if info, err := os.Stat(path); err == nil {
		size = info.Size()
	}
	w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+filepath.Base(path))
	w.Header().Set("Range", "0-"+strconv.FormatInt(max(0, size-1), 10))
	w.WriteHeader(status)
}

func appendBody(path string, body io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

func (s *server) takeManifest(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	d := ocispec.Descriptor{MediaType: r.Header.Get("Content-Type"), Digest: digest.FromBytes(text)}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.blobs.dir, d.Digest.Encoded()), text, 0o644)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.offer(r.PathValue("name")+":"+r.PathValue("ref"), d)
	w.Header().Set("Docker-Content-Digest", d.Digest.String())
	w.WriteHeader(http.StatusCreated)
}

// slowBytes is how many bytes a second come over a slow line, however many requests share it.
const slowBytes = 2 << 20

// A slowLine is one that all blobs that come slowly come over.
type slowLine struct {
	mu sync.Mutex
	// free is when what has been asked for will have come.
	free time.Time
}

// carry returns when n bytes more have come.
func (l *slowLine) carry(n int) {
	l.mu.Lock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / slowBytes)
	until := l.free
	l.mu.Unlock()
	time.Sleep(time.Until(until))
}

// slowly is a file that is read as if it came over a slow line. It is no file, so that the kernel doesn't copy it.
type slowly struct {
	io.ReadSeeker
	line *slowLine
}

func (f slowly) Read(p []byte) (int, error) {
	const piece = 16 << 10
	n, err := f.ReadSeeker.Read(p[:min(len(p), piece)])
	f.line.carry(n)
	return n, err
}

// serveSlowly serves a blob.
func (s *server) serveSlowly(w http.ResponseWriter, r *http.Request, path string) {
	f, err := os.Open(path)
	if err != nil {
		http.Error(w, fmt.Sprint(err), http.StatusNotFound)
		return
	}
	defer f.Close()
	http.ServeContent(w, r, "", time.Time{}, slowly{f, &s.line})
}
