package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
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

// content is what is known of a layer before it is made.
type content struct {
	diffID digest.Digest
	// disk and linked are those of the layer's note.
	disk   int64
	linked bool
}

// commit has a layer made under its ID on top of the parent, or takes the one that the store has; made tells which. The
// layer is kept for the build. That another tool makes the same one at the same moment is no error.
func (s *Store) commit(parent string, c content, create func(id string) (*storage.Layer, error)) (l Layer, made bool,
	err error) {
	id := LayerID(parent, c.diffID)
	unlock, err := s.lockCommit(id)
	if err != nil {
		return Layer{}, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := s.awaitRemoval(id); err != nil {
		return Layer{}, false, err
	}
	if l, ok := s.UseLayer(id, parent); ok {
		l.DiffID = c.diffID
		return l, false, nil
	}
	// The note comes first: a layer without one is not known to be ours.
	if err := s.noteMade(id, c.disk, c.linked); err != nil {
		return Layer{}, false, err
	}
	put, err := create(id)
	if errors.Is(err, storage.ErrDuplicateID) {
		l, err := s.takeOthers(id, parent)
		l.DiffID = c.diffID
		return l, false, err
	}
	if err != nil {
		return Layer{}, false, fmt.Errorf("commit layer: %w", err)
	}
	return fromStorage(put), true, nil
}

// takeOthers uses a layer that another tool was faster to make than this one: it isn't ours.
func (s *Store) takeOthers(id, parent string) (Layer, error) {
	err := s.whileUsing(func() error {
		return s.noteUse(layerUses, id, func(n *note) { *n = note{} })
	})
	l, ok := s.UseLayer(id, parent)
	if !ok {
		err = errors.Join(err, fmt.Errorf("commit layer %s: %w", id, ErrNoLayer))
	}
	return l, err
}

// lockCommit keeps other builds from committing the same layer.
func (s *Store) lockCommit(id string) (unlock func() error, err error) {
	dir := filepath.Join(s.dir, commitsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("commit layer: %w", err)
	}
	// 256 files serve all layers: two that share one only wait for each other.
	f, err := os.OpenFile(filepath.Join(dir, id[:2]), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("commit layer: %w", err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("commit layer: %w", err), f.Close())
	}
	return f.Close, nil
}

// awaitRemoval waits while a layer of that ID is being removed: it must not be taken, and can't be made before it is
// gone.
func (s *Store) awaitRemoval(id string) error {
	const pause = 10 * time.Millisecond
	for s.goes(id) {
		// With the lock free, who has marked the layer is dead, and taking the lock takes the marks away.
		unlock, err := s.LockRemoval(context.Background(), false)
		switch {
		case err == nil:
			err = unlock()
		case errors.Is(err, ErrBusy):
			time.Sleep(pause)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("commit layer: %w", err)
		}
	}
	return nil
}
