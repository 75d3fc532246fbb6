package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

const (
	// maxLayers is how many layers an image gets before those of the build are merged. Docker's engine takes 127.
	maxLayers = 120
	// maxStack is how many layers the kernel's overlay can be mounted on.
	maxStack = 480
)

// limitDepth returns the root to go on from: the same one, or one in which the build's own layers are one layer. The
// merged layer is made of hard links and remembered like any other.
func (b *Roots) limitDepth(ctx context.Context, r *Root) (*Root, error) {
	if r.depth() < maxLayers {
		return r, nil
	}
	if err := r.Wait(ctx); err != nil {
		return nil, err
	}
	own := r.layers[len(r.base.layers):]
	if len(r.layers) < maxLayers || len(own) < 2 {
		if len(r.layers) >= maxStack {
			return nil, fmt.Errorf("the base image has %d layers; no more than %d can be built on", len(r.layers), maxStack)
		}
		return r, nil
	}
	builder := cache.NewKey("merge")
	for _, l := range own {
		builder.Add("layer", l.ID)
	}
	key := builder.Key()
	// Nobody is kept from doing the same at the same time: the links take a while, and as they make the same stream, the
	// store takes the layer that is ready first for both.
	rec := b.Cache.Get(key)
	if rec == nil || rec.Layer == nil || !b.holds(ctx, rec.Layer, r.base.Top()) {
		var err error
		if rec, err = b.merge(ctx, r, own); err != nil {
			return nil, fmt.Errorf("merge %d layers: %w", len(own), err)
		}
		if err := b.Cache.Put(key, *rec); err != nil {
			return nil, err
		}
	}
	layers := append(r.base.layers[:len(r.base.layers):len(r.base.layers)], *rec.Layer)
	m := sealedRoot(r, r.content, layers, r.created)
	m.merged = true
	return m, nil
}

func (b *Roots) merge(ctx context.Context, r *Root, own []cache.Layer) (rec *cache.Record, err error) {
	b.Space.Check()
	snap, err := b.Store.Prepare(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snap.Remove()) }()
	t := &Staged{Below: r, Snap: snap}
	res, err := b.mergeInto(ctx, t, own)
	if err != nil {
		return nil, err
	}
	parent := r.base.Top()
	l, err := snap.Commit(ctx, parent)
	if err != nil {
		return nil, err
	}
	return &cache.Record{
		Layer:   &cache.Layer{ID: l.ID, Parent: parent, DiffID: res.DiffID, Size: res.Size},
		Content: res.Content, Created: time.Now().UTC(), Step: fmt.Sprintf("merge of %d layers", len(own)),
	}, nil
}

func (b *Roots) mergeInto(ctx context.Context, t *Staged, own []cache.Layer) (layer.Result, error) {
	if err := b.inheritRoot(t); err != nil {
		return layer.Result{}, err
	}
	var dirs []*os.File
	for _, l := range own {
		f, err := b.layers.get(l.ID)
		if err != nil {
			return layer.Result{}, err
		}
		dirs = append(dirs, f)
	}
	if err := b.linkLayers(ctx, t, dirs); err != nil {
		return layer.Result{}, err
	}
	// The root directory is always written: what it had before the first of these layers isn't known any more.
	return t.Snap.Read(store.ReadOptions{Context: ctx, Clamp: b.SourceDate, ParentRoot: &layer.RootAttr{}})
}
