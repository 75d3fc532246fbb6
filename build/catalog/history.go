package catalog

import (
	"context"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
)

// MissingID stands in the place of an ID where the store has no image that ends with an entry of a history.
const MissingID = "<missing>"

// Step is an entry of an image's history. The names are those of podman's JSON.
type Step struct {
	// ID is that of the image that the step made, if the store has it, or MissingID.
	ID string `json:"id"`
	// Created is zero if the history doesn't say when.
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"CreatedBy"`
	// Size is that of the step's layer, uncompressed, in bytes; 0: the step has none.
	Size    int64  `json:"size"`
	Comment string `json:"comment,omitempty"`
	// Tags are the names of the image.
	Tags []string `json:"tags,omitempty"`
}

// History lists the steps that made an image, the last one first. Of an index it takes the image for the platform, as
// Inspect does.
func History(ctx context.Context, s *session.Session, name string, platform *ocispec.Platform) ([]Step, error) {
	d, all, err := describe(ctx, s, name, platform)
	if err != nil {
		return nil, err
	}
	return stepsOf(d, all), nil
}

func stepsOf(d images.Described, all []images.Listed) []Step {
	history := d.Image.History
	steps := make([]Step, len(history))
	layer := 0
	for i, h := range history {
		step := Step{ID: MissingID, CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			step.Created = *h.Created
		}
		if !h.EmptyLayer && layer < len(d.Layers) {
			step.Size = d.Layers[layer].Size
			layer++
		}
		steps[len(history)-1-i] = step
	}
	for _, l := range all {
		if n := len(l.Image.History); d.Listed.BuiltOn(l) && steps[len(history)-n].ID == MissingID && !l.Cached {
			steps[len(history)-n].ID, steps[len(history)-n].Tags = l.ID, l.Names
		}
	}
	if len(steps) > 0 {
		steps[0].ID, steps[0].Tags = d.ID, d.Listed.Names
	}
	return steps
}
