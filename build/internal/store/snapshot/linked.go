package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// ErrNoMerge says that layers can't be merged: the store has no directories of their files that can be linked.
var ErrNoMerge = errors.New("the layers of this store can't be merged")

// links are what a layer of hard links is made of.
type links struct {
	// from are the directories of layers, lowest first.
	from []*os.File
	// root is what the root directory gets; nil: what the uppermost of these layers has.
	root *layer.RootAttr
	// below is what the root directory of the layer below is: the layer has no entry for its own if that is the same.
	below layer.RootAttr
	// parent is the ID of the layer below. still is the ID of a layer that must still be in the store when its files have
	// been linked.
	parent, still string
	// same is the digest that the layer's archive must have; "": any.
	same digest.Digest
}

// errOther says that the layer of hard links would have another archive.
var errOther = errors.New("the archive of linked files is another one")

// link makes the layer.
func (w *staging) link(ctx context.Context, l links, o ReadOptions) (made store.Layer, res layer.Result, err error) {
	st, err := w.make(ctx)
	if err != nil {
		return made, res, err
	}
	defer func() { err = errors.Join(err, st.Remove()) }()
	var paths []string
	for _, f := range l.from {
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}

	err = layer.Merge(ctx, st.dir(), paths, w.room.lib.Layout.Marks)
	if err = errors.Join(w.room.CheckStill(l.still), err); err != nil {
		return made, res, err
	}
	if l.root != nil {
		if err := layer.SetRootAttr(st.dir(), *l.root); err != nil {
			return made, res, err
		}
	}

	if res, err = st.read(ctx, o, l.below); err != nil {
		return made, res, err
	}
	if l.same != "" && (res.Empty || res.DiffID != l.same) {
		return made, res, errOther
	}
	made, err = st.Commit(ctx, l.parent)
	return made, res, err
}

// Merge makes one layer of others, lowest first, that lie on top of the layer base. The error is ErrNoMerge where that
// can't be.
func (r *Room) Merge(ctx context.Context, base string, layers []string, o ReadOptions) (made store.Layer,
	res layer.Result, err error) {
	w, ok := r.way.(*staging)
	if !ok {
		return made, res, ErrNoMerge
	}
	// The root directory is always written: what it had before the first of these layers isn't known any more.
	l := links{parent: base, still: layers[len(layers)-1]}
	for _, id := range layers {
		f, err := r.dirs.get(id)
		if err != nil {
			return made, res, err
		}
		l.from = append(l.from, f)
	}
	return w.link(ctx, l, o)
}

// PutOn makes a layer on top of another one that has the same files as old. Its root directory isn't part of it: it is
// as the layer below has it.
func (r *Room) PutOn(ctx context.Context, parent string, old store.Layer, o ReadOptions) (made store.Layer, err error) {
	w, ok := r.way.(*staging)
	if !ok {
		return r.restack(ctx, old, parent)
	}
	from, err := r.dirs.get(old.ID)
	if err != nil {
		return made, err
	}
	root, err := r.rootOf(parent)
	if err != nil {
		return made, err
	}
	made, _, err = w.link(ctx, links{
		from: []*os.File{from}, root: &root, below: root, parent: parent, still: parent,
	}, o)
	return made, err
}

// rootOf is what the root directory of a layer is, and what it is without any.
func (r *Room) rootOf(id string) (layer.RootAttr, error) {
	if id == "" {
		return plainRoot(), nil
	}
	dir, err := r.dirs.get(id)
	if err != nil {
		return layer.RootAttr{}, err
	}
	return layer.ReadRootAttr(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
}

// Chains gives the layers of a store IDs. It needs a room only where some have others.
type Chains struct{ Store *store.Store }

// Rechain does what Room.Rechain does.
func (c Chains) Rechain(ctx context.Context, layers []store.Layer) (chain []store.Layer, err error) {
	r := New(c.Store)
	defer func() { err = errors.Join(err, r.Close()) }()
	return r.Rechain(ctx, layers)
}

// Rechain gives layers, bottom first, that have the same archives, and the IDs that store.LayerID gives them. Their
// files are hard links where that can be.
func (r *Room) Rechain(ctx context.Context, layers []store.Layer) ([]store.Layer, error) {
	var chain []store.Layer
	parent := ""
	for _, old := range layers {
		l, ok := r.store.UseLayer(ctx, store.LayerID(parent, old.DiffID), parent)
		if !ok {
			var err error
			if l, err = r.copyOn(ctx, parent, old); err != nil {
				return nil, fmt.Errorf("put layer %s under the ID that other tools give it: %w", old.ID, err)
			}
		}
		l.DiffID = old.DiffID
		chain, parent = append(chain, l), l.ID
	}
	return chain, nil
}

// copyOn makes a layer on top of the parent that has the same archive as old.
func (r *Room) copyOn(ctx context.Context, parent string, old store.Layer) (made store.Layer, err error) {
	w, ok := r.way.(*staging)
	if !ok {
		return r.restack(ctx, old, parent)
	}

	l := links{parent: parent, same: old.DiffID}
	if l.below, err = r.rootOf(parent); err != nil {
		return made, err
	}

	root, err := r.rootOf(old.ID)
	if err != nil {
		return made, err
	}

	from, err := r.dirs.get(old.ID)
	if err != nil {
		return made, err
	}

	l.root, l.from = &root, []*os.File{from}
	made, _, err = w.link(ctx, l, ReadOptions{})
	if errors.Is(err, errOther) { // another program may have written the archive
		return r.restack(ctx, old, parent)
	}
	if err != nil {
		if _, gone := r.store.Layer(old.ID); gone != nil {
			err = gone
		}
	}

	return made, err
}
