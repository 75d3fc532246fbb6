package build

import (
	"context"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// shared makes the room of the caches that other machines fill; nil if there are none. The caller closes it.
func (e environment) shared(ctx context.Context, set settings) *shared.Room {
	from := set.CacheFrom
	if set.NoCache {
		from = nil
	}
	return shared.New(ctx, shared.Options{
		From: from, To: set.CacheTo, Registry: e.session.Registry().Options(), Progress: set.Progress, Shown: e.asides,
		Spool: func() (*os.File, error) { return outfile.Unnamed(e.depot.Store.Paths().Own) },
		Pull: func(ctx context.Context, src content.Fetcher, diffIDs []digest.Digest, blobs []ocispec.Descriptor,
			told func(what string, done, total int64)) error {
			return e.depot.Pull.Layers(ctx, src, diffIDs, blobs, pull.CopyOptions{Mapping: e.identity.Process, Progress: told})
		},
	})
}

// saveOptions say what a build adds to these caches.
func (e environment) saveOptions(met *meetings, records *cache.Cache,
	kept *blobs.Room) shared.SaveOptions {
	return shared.SaveOptions{
		Met: met.all, Records: records, Keep: kept.For, Origins: e.depot.Images, Retries: e.session.Registry().Retries,
		Layer: func(l cache.Layer) (export.Blob, bool) {
			have, err := e.depot.Store.Layer(l.ID)
			if err != nil {
				return export.Blob{}, false
			}
			return outputs.BlobsOf(e.depot.Store, []store.Layer{have})[0], true
		},
	}
}

// meetings are the steps that a build has met in the store's cache, or has put there.
type meetings struct {
	// image are the steps that the images stand on.
	image map[*plan.Step]bool

	mu  sync.Mutex
	all []shared.Met
}

func newMeetings(targets []*plan.Stage) *meetings {
	m := &meetings{image: map[*plan.Step]bool{}}
	for _, target := range targets {
		for s := target.Last; s != nil; s = s.Parent {
			m.image[s] = true
		}
	}
	return m
}

func (m *meetings) note(s *plan.Step, shape, key cache.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, shared.Met{Shape: shape, Key: key, Side: !m.image[s]})
}
