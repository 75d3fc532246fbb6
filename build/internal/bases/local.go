package bases

import (
	"context"
	"fmt"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Local finds base images by the files of a store, without opening the store.
type Local struct {
	// Peek gives the reader of the store's files.
	Peek func() (*images.Peeker, error)
}

var _ plan.Resolver = Local{}

// Resolve finds an image of the store, whatever its platform: the linter has a rule for that. Every error
// is a plan.ErrUnknownImage, so that the Dockerfile is linted even if the store can't be read.
func (l Local) Resolve(_ context.Context, ref string, _ plan.Wanted) (imagebuilder.Base, error) {
	peeker, err := l.Peek()
	if err != nil {
		return imagebuilder.Base{}, fmt.Errorf("%w (%w)", plan.ErrUnknownImage, err)
	}
	base, err := peeker.Find(ref)
	if err != nil {
		return base, fmt.Errorf("%w (%w)", plan.ErrUnknownImage, err)
	}
	return base, nil
}
