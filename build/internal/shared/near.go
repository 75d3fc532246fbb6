package shared

import (
	"context"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

// Near gives the recipe of the step that is nearest to one: the last of its shape or, if there is none, one whose text
// is the same or begins in the same way. From names the place; nil: there is none.
func (r *Room) Near(ctx context.Context, shape cache.Key, text string) (recipe *cache.Recipe, from string) {
	if r == nil {
		return nil, ""
	}
	r.each(ctx, func(s *source, x *index) bool {
		if found := x.near(shape, text); found != nil {
			recipe, from = cache.UnpackRecipe(found.Recipe), s.spec.Where()
		}
		return recipe != nil
	})
	return recipe, from
}

// leastAlike is how many bytes texts of steps have in common that are near to each other.
const leastAlike = 8

func (x *index) near(shape cache.Key, text string) (best *record) {
	const sameText, sameShape = 1 << 20, 1 << 21
	most := leastAlike
	for _, rec := range x.Records {
		if len(rec.Recipe) == 0 {
			continue
		}
		alike := commonPrefix(rec.Step, text)
		if rec.Step == text {
			alike = sameText
		}
		if rec.Shape == shape {
			alike = sameShape
		}
		if alike > most || best != nil && alike == most && rec.Created.After(best.Created) {
			best, most = &rec, alike
		}
	}
	return best
}

// commonPrefix is how many bytes two texts begin with alike, if their first words are the same.
func commonPrefix(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if !strings.Contains(a[:n], " ") {
		return 0
	}
	return n
}
