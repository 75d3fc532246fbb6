package shelf

import (
	"os"
	"sync"

	"github.com/cooperbuild/cooper/internal/flock"
)

// Hold keeps an entry of the shelf from being removed, or from being used by anybody else.
type Hold struct {
	once sync.Once
	f    *os.File
}

// Release gives the entry back. A nil hold holds nothing, and what was released once stays so.
func (h *Hold) Release() (err error) {
	if h == nil {
		return nil
	}
	h.once.Do(func() { err = flock.Release(h.f) })
	return err
}
