package outputs

import (
	"context"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Squash says which layers of an image become one.
type Squash int

// The zero value is SquashNone.
const (
	SquashNone Squash = iota
	// SquashNew puts the layers together that the build has put on the base image.
	SquashNew
	// SquashAll puts all together, those of the base image, too.
	SquashAll
)

// finalRoot is the root that the image of a target has, and its history.
func (b Room) finalRoot(ctx context.Context, target *plan.Stage, roots []*rootfs.Root) (*rootfs.Root,
	[]imagebuilder.History, error) {
	root, history := roots[target.Last.ID], b.history(target.Last, roots)
	if b.Image.OmitHistory {
		history = nil
	}
	if b.Image.Squash == SquashNone {
		return root, history, nil
	}
	final, err := b.Roots.Squash(ctx, root, b.Image.Squash == SquashAll)
	if err != nil || final == root || b.Image.OmitHistory {
		return final, history, err
	}
	first := firstStep(target)
	base := baseHistory(*first.Image, len(roots[first.ID].Layers()))
	own := slices.Clone(history[len(base):])
	if b.Image.Squash == SquashAll {
		base = nil
		if len(own) == 0 {
			own = []imagebuilder.History{{CreatedBy: first.Text}}
		}
	}
	for i := range own {
		own[i].EmptyLayer = true
	}
	if len(own) > 0 {
		own[len(own)-1].EmptyLayer = len(final.Layers()) == len(final.Base().Layers())
	}
	return final, slices.Concat(base, own), nil
}
