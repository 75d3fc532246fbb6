package images

import (
	"context"
	"fmt"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// Tag gives an image names, each of which is taken from the image that has it.
func (r *Room) Tag(ctx context.Context, id string, names []string) error {
	return r.uses.WhileUsing(ctx, func() error {
		if err := r.uses.Note(uses.Thing{Kind: uses.Images, Name: id}, nil); err != nil {
			return err
		}
		return r.Name(id, names)
	})
}

// Untag takes names from an image; names that it hasn't got are ignored. An image of cooper's own without another name
// stays in the cache.
func (r *Room) Untag(ctx context.Context, id string, names []string) error {
	return r.uses.WhileUsing(ctx, func() error {
		img, err := r.library.Image(id)
		if err != nil {
			return fmt.Errorf("remove names: %w", err)
		}
		rest := slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return slices.Contains(names, n) })
		if len(rest) == 0 && Own(img) && img.TopLayer != "" {
			rest = []string{keepName(id)}
		}
		if slices.Equal(rest, img.Names) {
			return nil
		}
		if err := r.library.SetNames(id, rest); err != nil {
			return fmt.Errorf("remove names: %w", err)
		}
		return nil
	})
}
