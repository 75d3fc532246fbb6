package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Cache is a directory of files and repositories.
type Cache struct {
	dir string
	// stall is how long a server may send nothing.
	stall time.Duration
}

// stallTime is how long a server may send nothing before a transfer is given up.
const stallTime = 60 * time.Second

// Open opens the cache in a directory, which is made if it isn't there.
func Open(dir string) (*Cache, error) {
	for _, sub := range []string{"files", "sums", "urls", "repos", "trees", "locks", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open cache of remote sources: %w", err)
		}
	}
	return &Cache{dir: dir, stall: stallTime}, nil
}

// hold keeps an entry of the cache from being removed.
type hold struct {
	once sync.Once
	f    *os.File
}

func (h *hold) release() (err error) {
	if h == nil {
		return nil
	}
	h.once.Do(func() { err = h.f.Close() })
	return err
}

// HTTP downloads a file, or takes it from the cache. Errors name the URL, without credentials; a file that isn't what its
// checksum says is ErrChecksum. The caller releases the file.
func (c *Cache) HTTP(_ context.Context, _ HTTPRequest) (*File, error) {
	return nil, errors.ErrUnsupported
}

// Git makes the tree of a repository, or takes it from the cache. A missing git program is ErrNoGit, a commit that isn't
// the one of the checksum ErrChecksum. The caller releases the checkout.
func (c *Cache) Git(_ context.Context, _ GitRequest) (*Checkout, error) {
	return nil, errors.ErrUnsupported
}
