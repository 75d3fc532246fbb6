package shared

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/userns"
)

// Puller puts layers into a store, see Options.Pull; mapping is that of the namespace in which they are unpacked.
func Puller(room *pull.Room, mapping *userns.Mapping) func(ctx context.Context, src content.Fetcher,
	diffIDs []digest.Digest, blobs []ocispec.Descriptor, told func(what string, done, total int64)) error {
	return func(ctx context.Context, src content.Fetcher, diffIDs []digest.Digest, blobs []ocispec.Descriptor,
		told func(what string, done, total int64)) error {
		return room.Layers(ctx, src, diffIDs, blobs, pull.CopyOptions{Mapping: mapping, Progress: told})
	}
}

// LayersOf gives layers of a store as they leave it, see SaveOptions.Layer.
func LayersOf(st *store.Store) func(l cache.Layer) (export.Blob, bool) {
	return func(l cache.Layer) (export.Blob, bool) {
		have, err := st.Layer(l.ID)
		if err != nil {
			return export.Blob{}, false
		}
		return outputs.BlobsOf(st, []store.Layer{have})[0], true
	}
}

// Meetings are the steps that a build has met in the store's cache, or has put there. They are safe for concurrent use.
type Meetings struct {
	// image are the steps that the images stand on.
	image map[*plan.Step]bool

	mu  sync.Mutex
	all []Met
}

// NewMeetings makes the list of a build for images of stages.
func NewMeetings(targets []*plan.Stage) *Meetings {
	m := &Meetings{image: map[*plan.Step]bool{}}
	for _, target := range targets {
		for s := target.Last; s != nil; s = s.Parent {
			m.image[s] = true
		}
	}
	return m
}

// Note is that of rootfs.Options.Noted.
func (m *Meetings) Note(s *plan.Step, shape, key cache.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, Met{Shape: shape, Key: key, Side: !m.image[s]})
}

// All are those that were noted so far.
func (m *Meetings) All() []Met {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all
}
