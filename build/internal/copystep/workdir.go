package copystep

import (
	"context"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/directories"
	"github.com/cooperbuild/cooper/build/plan"
)

// Workdir gives the work of a WORKDIR.
func (r *Room) Workdir(op *plan.Workdir) rootfs.Work { return workdir{r.Inputs.Roots, op} }

// workdir is the rootfs.Work of a WORKDIR: it makes the directory if it is missing.
type workdir struct {
	roots *rootfs.Roots
	op    *plan.Workdir
}

func (w workdir) shape() *cache.KeyBuilder { return w.describe(w.roots.NewKey("workdir")) }

func (w workdir) describe(k *cache.KeyBuilder) *cache.KeyBuilder {
	return k.Add("path", w.op.Path).Add("user", w.op.User)
}

func (w workdir) Shape() rootfs.Shape { return rootfs.Shape{Key: w.shape().Key()} }

func (w workdir) Keys() []rootfs.KeyFunc {
	return []rootfs.KeyFunc{func(_ context.Context, below cache.ContentID) (cache.Key, error) {
		return w.shape().Add("below", string(below)).Key(), nil
	}}
}

// Recipe is that of [rootfs.Described].
func (w workdir) Recipe(_ context.Context, below *cache.ContentID) (*cache.Recipe, error) {
	k := w.describe(w.roots.NewRecipe("workdir"))
	if below != nil {
		k.Add("below", string(*below))
	}
	return k.Recipe(nil), nil
}

func (w workdir) Exec(ctx context.Context, t *rootfs.Staged) error {
	return directories.Make(ctx, t, w.op.Path, w.op.User)
}

// Stable is true: there is no other input than the instruction.
func (workdir) Stable(context.Context) (bool, error) { return true, nil }
