// Package sessiontest gives tests a session with a store of its own, and images in it.
package sessiontest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
)

// Session is a session whose store is open.
type Session struct {
	*session.Session
	Store *depot.Depot
}

// Open makes a session, which ends with the test. Registries are reached by plain HTTP.
func Open(t *testing.T) *Session {
	t.Helper()
	s := Closed(t)
	d, err := s.Depot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &Session{s, d}
}

// Closed makes a session whose store isn't there.
func Closed(t *testing.T) *session.Session {
	t.Helper()
	s := session.New(session.Options{Registry: session.Registry{Insecure: true},
		Store: store.Options{Root: t.TempDir() + "/store", RunRoot: t.TempDir(), Driver: "overlay"}})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// An Image says what an image is of besides its layers.
type Image struct {
	// Platform is empty for linux/amd64.
	Platform string
	Config   ocispec.ImageConfig
	// Steps are the history: a layer for each, in order, unless the text begins with "#".
	Steps  []string
	Record images.Record
}

// Put puts an image of layers into the store, and gives its ID.
func (s *Session) Put(t *testing.T, image Image, layers []store.Layer, names ...string) (id string) {
	t.Helper()
	config := ocispec.Image{Platform: platforms.MustParse("linux/amd64"), Config: image.Config,
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	if image.Platform != "" {
		config.Platform = platforms.MustParse(image.Platform)
	}
	created := time.Unix(1, 0).UTC()
	config.Created = &created
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	for _, step := range image.Steps {
		config.History = append(config.History, ocispec.History{CreatedBy: step, EmptyLayer: step[0] == '#'})
	}
	record := image.Record
	var err error
	if record.Config, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	record.Layers, record.Names, record.Created, record.Keep = layers, names, created, true
	if id, _, err = s.Store.Images.Put(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	return id
}
