package rootfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/reclaim"
)

// maxLayers is how many layers an image may have before those of the build are merged. Docker's engine accepts 127.
const maxLayers = 120

// merges keep roots from having too many layers.
type merges struct {
	results
	chains snapshot.Chains
	space  *reclaim.Space
}

// limit returns the root on which the next step is put: r itself or, if r has too many layers, one in which the build's
// own layers are merged to one. The merged layer is made of hard links, and has a record like any other.
func (m merges) limit(ctx context.Context, r *Root) (*Root, error) {
	if r.depth() < maxLayers {
		return r, nil
	}
	if err := r.Wait(ctx); err != nil {
		return nil, err
	}

	own := r.layers[len(r.base.layers):]
	if len(r.layers) < maxLayers || len(own) < 2 {
		return r, nil
	}

	if err := m.arrivals.bring(ctx, r); err != nil {
		return nil, err
	}
	builder := cache.NewKey("merge")
	for _, l := range own {
		builder.Add("layer", l.ID)
	}

	key := builder.Key()
	// No lock is held, since making the links takes a while. If another build does the same meanwhile, both layers have
	// the same stream, and the store keeps the one that is ready first for both builds.
	rec := m.held(ctx, key, r.base.Top())
	if rec == nil {
		var err error
		if rec, err = m.merge(ctx, r, own); errors.Is(err, snapshot.ErrNoMerge) {
			return r, nil
		}
		if err != nil {
			return nil, fmt.Errorf("merge %d layers: %w", len(own), err)
		}
		if err := m.cache.Put(key, *rec); err != nil {
			return nil, err
		}
	}

	layers := append(r.base.layers[:len(r.base.layers):len(r.base.layers)], *rec.Layer)
	merged := sealedRoot(r, r.content, layers, r.created)
	merged.merged = true
	return merged, nil
}

// merge makes one layer of those that the build has put on the base of r.
func (m merges) merge(ctx context.Context, r *Root, own []cache.Layer) (*cache.Record, error) {
	m.space.Check()
	var layers []string
	for _, l := range own {
		layers = append(layers, l.ID)
	}
	parent := r.base.Top()
	l, res, err := m.chains.Merge(ctx, parent, layers, snapshot.ReadOptions{Date: m.date})
	if err != nil {
		return nil, err
	}
	return &cache.Record{
		Layer:   &cache.Layer{ID: l.ID, Parent: parent, DiffID: res.DiffID, Size: res.Size},
		Content: res.Content, Created: time.Now().UTC(), Step: fmt.Sprintf("merge of %d layers", len(own)),
	}, nil
}

// Squash makes one layer of those that the build has put on its base, or of all. The result is r itself if there is
// nothing to put together. The layer has a record like that of a step, so that the next build takes it.
func (b *Roots) Squash(ctx context.Context, r *Root, all bool) (*Root, error) {
	if err := r.Wait(ctx); err != nil {
		return nil, err
	}
	if err := b.results.arrivals.bring(ctx, r); err != nil {
		return nil, err
	}
	base := r.base
	if all {
		base = Scratch()
	}
	if len(r.layers)-len(base.layers) < 2 {
		return r, nil
	}
	return b.squash(ctx, r, base)
}

// Dated is a root with one layer in place of those that were put on its base without the date of these Roots.
func (b *Roots) Dated(ctx context.Context, r *Root) (*Root, error) {
	if len(r.layers) == len(r.base.layers) {
		return r, nil
	}
	return b.squash(ctx, r, r.base)
}

func (b *Roots) squash(ctx context.Context, r, base *Root) (*Root, error) {
	own := r.layers[len(base.layers):]
	shown := b.Shown.Begin(fmt.Sprintf("squashing %d layers", len(own)))
	layers, err := b.merges.squashed(ctx, base, own)
	shown.End(ctx, err)
	if err != nil {
		return nil, fmt.Errorf("squash %d layers: %w", len(own), err)
	}
	squashed := sealedRoot(r, r.content, layers, b.Date.Record(r.created))
	squashed.base = base
	if n := len(layers); n > len(base.layers) {
		squashed.own = &layers[n-1]
	}
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
