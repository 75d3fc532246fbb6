package index

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/printable"
)

// Inline are the records of the steps that an image stands on, in the image's config. What differs from run to run is
// not in it, so that the same steps give the same image; their times are in the image's history as well.
type Inline struct {
	Version int                        `json:"version"`
	Records map[cache.Key]InlineRecord `json:"records"`
}

// InlineRecord is the result of a step.
type InlineRecord struct {
	Shape cache.Key `json:"shape"`
	// Layer is the number of the image's layer that the step has made, from 1; 0: it has changed nothing.
	Layer int `json:"layer,omitempty"`
	// Size is that of the layer's archive in bytes, Content the digest of its content without times.
	Size    int64         `json:"size,omitempty"`
	Content digest.Digest `json:"content,omitempty"`
	Created time.Time     `json:"created"`
	Step    string        `json:"step,omitempty"`
}

// OfImage are the records in the config of an image; nil: there are none.
func OfImage(image *content.Image) (*Index, error) {
	var config struct {
		Cache *Inline `json:"cooper.cache.v1"`
	}
	if err := json.Unmarshal(image.Config, &config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if config.Cache == nil || config.Cache.Version != Version {
		return nil, nil //nolint:nilnil // no index is an answer
	}
	x := &Index{Version: Version, Records: map[cache.Key]Record{}}
	for key, in := range config.Cache.Records {
		r := Record{Shape: in.Shape, Content: in.Content, Created: in.Created, Used: in.Created, Step: in.Step}
		if in.Layer < 0 || in.Layer > len(image.Layers) {
			return nil, fmt.Errorf("%w: record %q names layer %d of %d", ErrDamaged, printable.Clip(string(key)), in.Layer,
				len(image.Layers))
		}
		if in.Layer > 0 {
			blob := image.Layers[in.Layer-1]
			blob.MediaType = ociLayer(blob.MediaType)
			r.Layer = &Layer{DiffID: image.DiffIDs[in.Layer-1], Size: in.Size, Blob: blob}
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
