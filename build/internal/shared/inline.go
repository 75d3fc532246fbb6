package shared

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/printable"
)

// inline are the records of the steps that an image stands on, in the image's config. What differs from run to run is
// not in it, so that the same steps give the same image; their times are in the image's history as well.
type inline struct {
	Version int                        `json:"version"`
	Records map[cache.Key]inlineRecord `json:"records"`
}

// inlineRecord is the result of a step.
type inlineRecord struct {
	Shape cache.Key `json:"shape"`
	// Layer is the number of the image's layer that the step has made, from 1; 0: it has changed nothing.
	Layer int `json:"layer,omitempty"`
	// Size is that of the layer's archive in bytes, Content the digest of its content without times.
	Size    int64         `json:"size,omitempty"`
	Content digest.Digest `json:"content,omitempty"`
	Created time.Time     `json:"created"`
	Step    string        `json:"step,omitempty"`
}

// maxPlatforms is how many images of an index are looked at.
const maxPlatforms = 16

// Inline gives the records of the steps that were met for the config of an image with layers, see outputs.Options; nil:
// no place is in the image.
func (r *Room) Inline(m *Meetings, records *cache.Cache) func(context.Context, []cache.Layer) ([]byte, error) {
	if r == nil || !slices.ContainsFunc(r.To, func(to sharedcache.Spec) bool { return to.Type == sharedcache.Inline }) {
		return nil
	}
	return func(ctx context.Context, layers []cache.Layer) ([]byte, error) {
		all := inline{Version: version, Records: map[cache.Key]inlineRecord{}}
		for _, met := range m.All() {
			rec := r.recordOf(ctx, records, met.Key)
			if rec == nil || met.Side {
				continue
			}
			one := inlineRecord{Shape: met.Shape, Content: rec.Content, Created: rec.Created, Step: rec.Step}
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
func readInline(ctx context.Context, src content.Fetcher, root ocispec.Descriptor) (*index, error) {
	_, entries, err := content.ReadRoot(ctx, src, root)
	if err != nil {
		return nil, err
	}
	if entries == nil {
		entries = []ocispec.Descriptor{root}
	}
	var all *index
	for _, d := range entries[:min(len(entries), maxPlatforms)] {
		if !content.IsManifest(d.MediaType) {
			continue
		}
		image, err := content.ReadImage(ctx, src, d, ocispec.Platform{})
		if err != nil {
			continue // an attestation is no image, and has no records
		}
		x, err := inlineOf(image)
		if err != nil {
			return nil, err
		}
		if x != nil && all == nil {
			all = &index{Version: version, inline: true, Records: map[cache.Key]record{}}
		}
		if x != nil {
			for key, r := range x.Records {
				all.Records[key] = r
			}
		}
	}
	return all, nil
}

// inlineOf are the records in the config of an image; nil: there are none.
func inlineOf(image *content.Image) (*index, error) {
	var config struct {
		Cache *inline `json:"cooper.cache.v1"`
	}
	if err := json.Unmarshal(image.Config, &config); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if config.Cache == nil || config.Cache.Version != version {
		return nil, nil //nolint:nilnil // no index is an answer
	}
	x := &index{Version: version, Records: map[cache.Key]record{}}
	for key, in := range config.Cache.Records {
		r := record{Shape: in.Shape, Content: in.Content, Created: in.Created, Used: in.Created, Step: in.Step}
		if in.Layer < 0 || in.Layer > len(image.Layers) {
			return nil, fmt.Errorf("%w: record %q names layer %d of %d", errDamaged, printable.Clip(string(key)), in.Layer,
				len(image.Layers))
		}
		if in.Layer > 0 {
			blob := image.Layers[in.Layer-1]
			blob.MediaType = ociLayer(blob.MediaType)
			r.Layer = &layer{DiffID: image.DiffIDs[in.Layer-1], Size: in.Size, Blob: blob}
		}
		x.Records[key] = r
	}
	return x, x.check()
}

// ociLayer is the media type of a layer in OCI's spelling.
func ociLayer(mediaType string) string {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return ocispec.MediaTypeImageLayerGzip
	case strings.HasSuffix(mediaType, "zstd"):
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}
