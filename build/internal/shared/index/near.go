package index

import (
	"strings"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

// leastAlike is how many bytes texts of steps have in common that are near to each other.
const leastAlike = 8

// Near is the record with a recipe that is nearest to a step: the last of its shape or, if there is none, one whose
// text is the same or begins in the same way; nil: there is none.
func (x *Index) Near(shape cache.Key, text string) (best *Record) {
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
