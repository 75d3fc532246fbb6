package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/imagebuilder/layer/merge"
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
	// linked is called with the directory when the files are linked, before they are read; nil: nothing is.
	linked func(dir string) error
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

	err = merge.Layers(ctx, st.dir(), paths, w.room.lib.Layout.Marks)
	if err = errors.Join(w.room.CheckStill(l.still), err); err != nil {
		return made, res, err
	}
	if l.linked != nil {
		if err := l.linked(st.dir()); err != nil {
			return made, res, err
		}
	}
	if l.root != nil {
		if err := layer.SetRootAttr(st.dir(), *l.root); err != nil {
			return made, res, err
		}
	}

	if res, err = st.read(ctx, o, l.below); err != nil {
		return made, res, err
	}
	if res.Empty && l.same == "" {
		return made, res, nil
	}
	if l.same != "" && (res.Empty || res.DiffID != l.same) {
		return made, res, errOther
	}
	made, err = st.Commit(ctx, l.parent)
	return made, res, err
}

// Chains makes layers of the layers that a store has: one of several, the same on another parent, the same under other
// IDs. Their files are hard links where that can be.
type Chains struct{ room *Room }

// Chains gives what makes layers of layers in this room.
func (r *Room) Chains() Chains { return Chains{r} }

// Merge makes one layer of others, lowest first, that lie on top of the layer base. The error is ErrNoMerge where that
// can't be.
func (c Chains) Merge(ctx context.Context, base string, layers []string, o ReadOptions) (made store.Layer,
	res layer.Result, err error) {
	w, ok := c.room.way.(*staging)
	if !ok {
		return made, res, ErrNoMerge
	}
	// The root directory is always written: what it had before the first of these layers isn't known any more.
	l := links{parent: base, still: layers[len(layers)-1]}
	for _, id := range layers {
		f, err := c.room.dirs.get(id)
		if err != nil {
			return made, res, err
		}
		l.from = append(l.from, f)
	}
	return w.link(ctx, l, o)
}

// PutOn makes a layer on top of another one that has the same files as old. Its root directory isn't part of it: it is
// as the layer below has it.
func (c Chains) PutOn(ctx context.Context, parent string, old store.Layer, o ReadOptions) (made store.Layer,
	err error) {
	w, ok := c.room.way.(*staging)
	if !ok {
		return c.restack(ctx, old, parent)
	}
	from, err := c.room.dirs.get(old.ID)
	if err != nil {
		return made, err
	}
	root, err := c.room.dirs.rootOf(parent)
	if err != nil {
		return made, err
	}
	made, _, err = w.link(ctx, links{
		from: []*os.File{from}, root: &root, below: root, parent: parent, still: parent,
	}, o)
	return made, err
}

// Rechain gives layers, bottom first, that have the same archives, and the IDs that store.LayerID gives them.
func (c Chains) Rechain(ctx context.Context, layers []store.Layer) ([]store.Layer, error) {
	var chain []store.Layer
	parent := ""
	for _, old := range layers {
		l, ok := c.room.store.UseLayer(ctx, store.LayerID(parent, old.DiffID), parent)
		if !ok {
			var err error
			if l, err = c.copyOn(ctx, parent, old); err != nil {
				return nil, fmt.Errorf("put layer %s under the ID that other tools give it: %w", old.ID, err)
			}
		}
		l.DiffID = old.DiffID
		chain, parent = append(chain, l), l.ID
	}
	return chain, nil
}

// Rechainer does what Chains.Rechain does where there is no room: it has one of its own for each call.
type Rechainer struct{ Store *store.Store }

// Rechain does what Chains.Rechain does.
func (r Rechainer) Rechain(ctx context.Context, layers []store.Layer) (chain []store.Layer, err error) {
	room := New(r.Store)
	defer func() { err = errors.Join(err, room.Close()) }()
	return room.Chains().Rechain(ctx, layers)
}

// copyOn makes a layer on top of the parent that has the same archive as old.
func (c Chains) copyOn(ctx context.Context, parent string, old store.Layer) (made store.Layer, err error) {
	w, ok := c.room.way.(*staging)
	if !ok {
		return c.restack(ctx, old, parent)
	}

	l := links{parent: parent, same: old.DiffID}
	if l.below, err = c.room.dirs.rootOf(parent); err != nil {
		return made, err
	}

	root, err := c.room.dirs.rootOf(old.ID)
	if err != nil {
		return made, err
	}

	from, err := c.room.dirs.get(old.ID)
	if err != nil {
		return made, err
	}

	l.root, l.from = &root, []*os.File{from}
	made, _, err = w.link(ctx, l, ReadOptions{})
	if errors.Is(err, errOther) { // another program may have written the archive
		return c.restack(ctx, old, parent)
	}
	if err != nil {
		if _, gone := c.room.store.Layer(old.ID); gone != nil {
			err = gone
		}
	}

	return made, err
}

// restack makes another layer with the same archive as l, on top of the parent.
func (c Chains) restack(ctx context.Context, l store.Layer, parent string) (made store.Layer, err error) {
	a := archived{room: c.room, diffID: l.DiffID}
	if err := a.create(); err != nil {
		return made, fmt.Errorf("copy layer %s: %w", l.ID, err)
	}
	if err := c.spoolTar(l, a.tar); err != nil {
		return made, errors.Join(err, a.close())
	}
	return a.commit(ctx, parent, func() (layer.RootAttr, error) { return plainRoot(), nil }, a.close)
}

// spoolTar writes a layer's archive to a file. A layer that is being read keeps all others from being made.
func (c Chains) spoolTar(l store.Layer, spool io.Writer) error {
	archive, err := c.room.store.LayerTar(l)
	if err != nil {
		return err
	}
	hash := digest.Canonical.Digester()
	_, err = io.Copy(io.MultiWriter(spool, hash.Hash()), archive)
	if err = errors.Join(err, archive.Close()); err == nil && hash.Digest() != l.DiffID {
		err = fmt.Errorf("its archive has the digest %s, not %s", hash.Digest(), l.DiffID)
	}
	if err != nil {
		return fmt.Errorf("copy layer %s: %w", l.ID, err)
	}
	return nil
}
