package rootfs

import (
	"context"
	"fmt"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
)

// Squash makes one layer of those that the build has put on its base, or of all. The result is r itself if there is
// nothing to put together. The layer has a record like that of a step, so that the next build takes it.
func (b *Roots) Squash(ctx context.Context, r *Root, all bool) (*Root, error) {
	if err := r.Wait(ctx); err != nil {
		return nil, err
	}
	base := r.base
	if all {
		base = Scratch()
	}
	own := r.layers[len(base.layers):]
	if len(own) < 2 {
		return r, nil
	}
	shown := b.Shown.Begin(fmt.Sprintf("squashing %d layers", len(own)))
	layers, err := b.merges.squashed(ctx, base, own)
	shown.End(ctx, err)
	if err != nil {
		return nil, fmt.Errorf("squash %d layers: %w", len(own), err)
	}
	squashed := sealedRoot(r, r.content, layers, b.Date.Record(r.created))
	squashed.base = base
	return squashed, nil
}

// squashed are the layers of base and one that holds the files of own, unless that is empty.
func (m merges) squashed(ctx context.Context, base *Root, own []cache.Layer) ([]cache.Layer, error) {
	builder := addDate(cache.NewKey("squash").Add("base", base.Top()), m.date)
	for _, l := range own {
		builder.Add("layer", l.ID)
	}
	key := builder.Key()
	rec := m.held(ctx, key, base.Top())
	if rec == nil {
		m.space.Check()
		l, res, err := m.chains.Squash(ctx, idsOf(base.layers), idsOf(own), snapshot.ReadOptions{Date: m.date})
		if err != nil {
			return nil, err
		}
		if res.Empty {
			return base.layers, nil
		}
		rec = &cache.Record{
			Layer:   &cache.Layer{ID: l.ID, Parent: base.Top(), DiffID: res.DiffID, Size: res.Size},
			Content: res.Content, Created: time.Now().UTC(), Step: fmt.Sprintf("squash of %d layers", len(own)),
		}
		if err := m.cache.Put(key, *rec); err != nil {
			return nil, err
		}
	}
	return append(base.layers[:len(base.layers):len(base.layers)], *rec.Layer), nil
}

func idsOf(layers []cache.Layer) (ids []string) {
	for _, l := range layers {
		ids = append(ids, l.ID)
	}
	return ids
}
