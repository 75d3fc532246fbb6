package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// thisPlatform is the platform of the images that bench makes.
func thisPlatform() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// A server is a registry on loopback that serves images of its own, from files, and those that are pushed to it.
type server struct {
	blobs  blobStore
	listen net.Listener
	http   *http.Server
	mu     sync.Mutex
	// images are the manifests by the names of their images, with or without a tag, and slow the blobs that come slowly.
	images map[string]ocispec.Descriptor
	slow   map[string]bool
	line   slowLine
}

// offer has the server serve an image.
func (s *server) offer(name string, d ocispec.Descriptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[name] = d
}

// offered finds an image by its name, and by a tag if it has several.
func (s *server) offered(name, ref string) (ocispec.Descriptor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.images[name+":"+ref]; ok {
		return d, true
	}
	for image, d := range s.images {
		if d.Digest.String() == ref && strings.HasPrefix(image, name) {
			return d, true
		}
	}
	d, ok := s.images[name]
	return d, ok
}

// newServer starts a server whose files are below dir. The caller closes it.
func newServer(ctx context.Context, dir string) (*server, error) {
	s := &server{blobs: blobStore{filepath.Join(dir, "blobs")}, images: map[string]ocispec.Descriptor{},
		slow: map[string]bool{}}
	if err := os.MkdirAll(s.blobs.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of blobs: %w", err)
	}
	var err error
	if s.listen, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/{name}/manifests/{ref}", s.manifest)
	mux.HandleFunc("GET /v2/{name}/blobs/{digest}", s.blob)
	s.takes(mux)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.http.Serve(s.listen) }() // close ends it
	return s, nil
}

// manifest serves a manifest, by tag or by digest.
func (s *server) manifest(w http.ResponseWriter, r *http.Request) {
	d, ok := s.offered(r.PathValue("name"), r.PathValue("ref"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", d.MediaType)
	w.Header().Set("Docker-Content-Digest", d.Digest.String())
	http.ServeFile(w, r, filepath.Join(s.blobs.dir, d.Digest.Encoded()))
}

// blob serves a blob; the kernel copies it.
func (s *server) blob(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	path := s.blobPath(r.PathValue("name"), r.PathValue("digest"))
	if s.slow[filepath.Base(path)] {
		s.serveSlowly(w, r, path)
		return
	}
	http.ServeFile(w, r, path)
}

// layers are the URLs of an image's layers.
func (s *server) layers(image string) (urls []string, err error) {
	d, _ := s.offered(image, "")
	name, _, _ := strings.Cut(image, ":")
	text, err := os.ReadFile(filepath.Join(s.blobs.dir, d.Digest.Encoded()))
	var m ocispec.Manifest
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	for _, l := range m.Layers {
		urls = append(urls, fmt.Sprintf("http://%s/v2/%s/blobs/%s", s.listen.Addr(), name, l.Digest))
	}
	return urls, err
}

// fetch writes what is at a URL to standard output.
func fetch(url string) error {
	resp, err := http.Get(url) //nolint:gosec,noctx // it is the server's, and whoever wants less of it ends the process
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

func (s *server) close() error {
	return errors.Join(s.http.Close(), os.RemoveAll(s.blobs.dir))
}
