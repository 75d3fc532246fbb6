package shared

import (
	"context"
	"encoding/json"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/shared/index"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// maxPlatforms is how many images of an index are looked at.
const maxPlatforms = 16

// Inline gives the records of the steps that were met for the config of an image with layers, see outputs.Options; nil:
// no place is in the image.
func (r *Room) Inline(m *Meetings, records *cache.Cache) func(context.Context, []cache.Layer) ([]byte, error) {
	if r == nil || !slices.ContainsFunc(r.To, func(to sharedcache.Spec) bool { return to.Type == sharedcache.Inline }) {
		return nil
	}
	return func(ctx context.Context, layers []cache.Layer) ([]byte, error) {
		all := index.Inline{Version: index.Version, Records: map[cache.Key]index.InlineRecord{}}
		for _, met := range m.All() {
			rec := r.recordOf(ctx, records, met.Key)
			if rec == nil || met.Side {
				continue
			}
			one := index.InlineRecord{Shape: met.Shape, Content: rec.Content, Created: rec.Created, Step: rec.Step}
			if rec.Layer != nil {
				made := func(l cache.Layer) bool { return l.DiffID == rec.Layer.DiffID }
				if one.Layer = slices.IndexFunc(layers, made) + 1; one.Layer == 0 {
					continue // it was squashed
				}
				one.Size = rec.Layer.Size
			}
			all.Records[met.Key] = one
		}
		return json.Marshal(all)
	}
}

// readInline reads the records in the configs of an image, or of all images of an index; nil: there are none.
func readInline(ctx context.Context, src content.Fetcher, root ocispec.Descriptor) (*index.Index, error) {
	_, entries, err := content.ReadRoot(ctx, src, root)
	if err != nil {
		return nil, err
	}
	if entries == nil {
		entries = []ocispec.Descriptor{root}
	}
	var all *index.Index
	for _, d := range entries[:min(len(entries), maxPlatforms)] {
		if !content.IsManifest(d.MediaType) {
			continue
		}
		image, err := content.ReadImage(ctx, src, d, ocispec.Platform{})
		if err != nil {
			continue // an attestation is no image, and has no records
		}
		x, err := index.OfImage(image)
		if err != nil {
			return nil, err
		}
		if x != nil && all == nil {
			all = &index.Index{Version: index.Version, InImage: true, Records: map[cache.Key]index.Record{}}
		}
		if x != nil {
			for key, r := range x.Records {
				all.Records[key] = r
			}
		}
	}
	return all, nil
}
