package copystep

import (
	"context"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/source"
)

// leastKept is of how many files what they hold is kept: of less it takes longer than to copy them.
const leastKept = 500

var _ rootfs.Keeping = (*copying)(nil)

// Keep is that of [rootfs.Keeping]: it keeps what the files hold, for the next copy of the same shape.
func (c *copying) Keep(shape cache.Key, rec cache.Record) error {
	_, held, ok := c.content.made()
	if !ok || !c.alone || held.Count() < leastKept {
		return nil
	}
	return c.room.Inputs.Roots.Cache.PutFiles(shape, cache.Files{
		Layer: *rec.Layer, Step: rec.Step, From: c.from, Into: c.into, List: held.Bytes(),
	})
}

// earlier is the layer of the last copy of this shape; nil: there is none with a file that is still the same. The
// caller calls the function when done.
func (c *copying) earlier(ctx context.Context, held *source.Contents) (*fileop.Earlier, func()) {
	none := func() {}
	if held.Count() < leastKept || c.op.Link {
		return nil, none
	}
	before, ok := c.room.Inputs.Roots.Cache.Files(c.shape().Key())
	if !ok {
		return nil, none
	}
	same := held.Same(before.List)
	if same == nil {
		return nil, none
	}
	dir := c.room.Inputs.Roots.OpenLayer(ctx, before.Layer)
	if dir == nil {
		return nil, none
	}
	return &fileop.Earlier{Dir: dir, From: before.From, Into: before.Into, Same: same}, func() { _ = dir.Close() }
}
