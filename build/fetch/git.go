package fetch

import (
	"context"
	"errors"
)

// Git makes the tree of a repository, or takes it from the cache. A missing git program is ErrNoGit, a commit that isn't
// the one of the checksum ErrChecksum. The caller releases the checkout.
func (c *Cache) Git(_ context.Context, _ GitRequest) (*Checkout, error) {
	return nil, errors.ErrUnsupported
}
