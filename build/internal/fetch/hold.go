package fetch

import (
	"os"
	"sync"

	"github.com/cooperbuild/cooper/internal/flock"
)

// hold keeps an entry of the cache from being removed, or from being used by anybody else.
type hold struct {
	once sync.Once
	f    *os.File
}

func (h *hold) release() (err error) {
	if h == nil {
		return nil
	}
	h.once.Do(func() { err = flock.Release(h.f) })
	return err
}
