package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/internal/flock"
)

// LayerID gives the ID of the layer with a diff ID on top of the layer parent, "" for none, by the rule of
// containers/image. So a layer has the same ID whichever tool made it, and an image that was pushed from this store can
// be pulled again: other tools refuse an image if the store has one of that ID with layers of other IDs.
func LayerID(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	return digest.Canonical.FromString(parent + "+" + diffID.Encoded()).Encoded()
}

// commitsDir has the files that are locked while a layer is committed, so that of two builds that commit the same layer
// the second finds the layer of the first.
const commitsDir = "commits"

// Content describes a layer before it is made.
type Content struct {
	DiffID digest.Digest
	// Disk is the number of bytes that the layer takes on disk; 0: not known, it is measured when needed. Linked tells
	// that it shares files with other layers.
	Disk   int64
	Linked bool
}

// Commit calls create to make a layer under its ID on top of the parent, or takes the layer if the store has it; made
// tells which. The layer isn't removed while the build runs. It is no error if another tool makes the same layer
// meanwhile.
func (s *Store) Commit(ctx context.Context, parent string, c Content,
	create func(id string) (*storage.Layer, error)) (l Layer, made bool, err error) {
	id := LayerID(parent, c.DiffID)
	unlock, err := s.LockCommit(ctx, id)
	if err != nil {
		return Layer{}, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	// A layer without a note counts as another tool's: it is written before the layer is made.
	l, ok, err := s.Take(ctx, id, parent, func() error { return s.parts.Uses.NoteMade(ctx, id, c.Disk, c.Linked) })
	if err != nil || ok {
		l.DiffID = c.DiffID
		return l, false, err
	}

	put, err := create(id)
	if errors.Is(err, storage.ErrDuplicateID) {
		l, err := takeOthers(ctx, s, id, parent)
		l.DiffID = c.DiffID
		return l, false, err
	}
	if err != nil {
		return Layer{}, false, fmt.Errorf("commit layer: %w", err)
	}

	return FromStorage(put), true, nil
}

// takeOthers takes a layer that another tool has made meanwhile, and corrects the note: it wasn't made by this program.
func takeOthers(ctx context.Context, s *Store, id, parent string) (Layer, error) {
	err := s.parts.Uses.WhileUsing(ctx, func() error {
		return s.parts.Uses.Note(uses.Thing{Kind: uses.Layers, Name: id}, func(n *uses.Entry) { *n = uses.Entry{} })
	})
	l, ok := s.UseLayer(ctx, id, parent)
	if !ok {
		err = errors.Join(err, fmt.Errorf("commit layer %s: %w", id, ErrNoLayer))
	}
	return l, err
}

// LockCommit keeps other builds from committing the same layer.
func (s *Store) LockCommit(ctx context.Context, id string) (unlock func() error, err error) {
	dir := filepath.Join(s.paths.Own, commitsDir)
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

// Chained tells whether layers, the lowest first, have the IDs that LayerID gives. Layers of earlier versions don't,
// and neither do layers that podman has pulled by a table of contents.
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
