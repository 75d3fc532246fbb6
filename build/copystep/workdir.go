package copystep

import (
	"context"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/rootfs"
)

// Workdir makes sure that a directory exists.
func (r *Room) Workdir(op *plan.Workdir) rootfs.Work {
	shape := func() *cache.KeyBuilder {
		return r.Inputs.Roots.NewKey("workdir").Add("path", op.Path).Add("user", op.User)
	}
	return rootfs.Work{
		Shape: shape().Key(),
		Key: func(_ context.Context, below cache.ContentID) (cache.Key, error) {
			return shape().Add("below", string(below)).Key(), nil
		},
		Exec: func(ctx context.Context, t *rootfs.Target) error {
			return r.Inputs.Roots.Mkdir(ctx, t, op.Path, op.User)
		},
	}
}
