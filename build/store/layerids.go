package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/store/uses"
	"github.com/cooperbuild/cooper/internal/flock"
)

// LayerID is the ID of the layer that a diff ID makes on top of another layer, "" for none, as containers/image gives
// it. So a layer is the same one whoever has made it, and an image that was pushed from here can be pulled again: other
// tools refuse an image whose ID is in the store with layers of other IDs.
func LayerID(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	return digest.Canonical.FromString(parent + "+" + diffID.Encoded()).Encoded()
}

// commitsDir has the files that are locked while a layer is committed. Two builds of the same layer come one after the
// other there, so that the second finds the first one's.
const commitsDir = "commits"

// Content is what is known of a layer before it is made.
type Content struct {
	DiffID digest.Digest
	// Disk counts the bytes that it takes on disk; 0: they are counted when somebody asks. Linked says that it has them in
	// common with other layers.
	Disk   int64
	Linked bool
}

// Commit has a layer made under its ID on top of the parent, or takes the one that the store has; made tells which. The
// layer is kept for the build. That another tool makes the same one at the same moment is no error.
func (s *Store) Commit(ctx context.Context, parent string, c Content,
	create func(id string) (*storage.Layer, error)) (l Layer, made bool, err error) {
	id := LayerID(parent, c.DiffID)
	unlock, err := s.LockCommit(ctx, id)
	if err != nil {
		return Layer{}, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := s.uses.AwaitRemoval(ctx, id); err != nil {
		return Layer{}, false, err
	}
	if l, ok := s.UseLayer(ctx, id, parent); ok {
		l.DiffID = c.DiffID
		return l, false, nil
	}
	// The note comes first: a layer without one is not known to be ours.
	if err := s.uses.WhileUsing(ctx, func() error { return s.uses.NoteMade(id, c.Disk, c.Linked) }); err != nil {
		return Layer{}, false, err
	}
	put, err := create(id)
	if errors.Is(err, storage.ErrDuplicateID) {
		l, err := s.takeOthers(ctx, id, parent)
		l.DiffID = c.DiffID
		return l, false, err
	}
	if err != nil {
		return Layer{}, false, fmt.Errorf("commit layer: %w", err)
	}
	return FromStorage(put), true, nil
}

// takeOthers uses a layer that another tool was faster to make than this one: it isn't ours.
func (s *Store) takeOthers(ctx context.Context, id, parent string) (Layer, error) {
	err := s.uses.WhileUsing(ctx, func() error {
		return s.uses.Note(uses.Thing{Kind: uses.Layers, Name: id}, func(n *uses.Entry) { *n = uses.Entry{} })
	})
	l, ok := s.UseLayer(ctx, id, parent)
	if !ok {
		err = errors.Join(err, fmt.Errorf("commit layer %s: %w", id, ErrNoLayer))
	}
	return l, err
}

// LockCommit keeps other builds from committing the same layer.
func (s *Store) LockCommit(ctx context.Context, id string) (unlock func() error, err error) {
	dir := filepath.Join(s.dir, commitsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("commit layer: %w", err)
	}
	// 256 files serve all layers: two that share one only wait for each other.
	f, err := flock.File(ctx, filepath.Join(dir, id[:2]), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("commit layer: %w", err)
	}
	return f.Close, nil
}

// Chained tells whether layers, bottom first, have the IDs that LayerID gives them. Those that earlier versions made
// don't, and neither do those that podman has pulled by a table of contents.
func Chained(layers []Layer) bool {
	parent := ""
	for _, l := range layers {
		if l.ID != LayerID(parent, l.DiffID) {
			return false
		}
		parent = l.ID
	}
	return true
}
