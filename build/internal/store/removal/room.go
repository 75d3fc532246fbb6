package removal

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// Room gives disk space of one store back.
type Room struct {
	store   *store.Store
	library *library.Library
	uses    *uses.Ledger
	images  *images.Room
}

// New gives the room that gives disk space of a store back.
func New(s *store.Store, i *images.Room) *Room {
	return &Room{store: s, library: library.Of(s.Parts().Library), uses: s.Parts().Uses, images: i}
}

// RemoveYounger removes the cache mounts and shifted copies that were used after the time than. It is called after a
// crash, since nobody knows which files of theirs were lost.
func (r *Room) RemoveYounger(ctx context.Context, than time.Time) error {
	for _, kind := range []uses.Kind{uses.Mounts, uses.Copies} {
		notes, err := r.uses.All(kind)
		if err != nil {
			return err
		}
		for name, n := range notes {
			parent, file, _ := strings.Cut(name, ".")
			if n.Last.Before(than) {
				continue
			}
			dir := filepath.Join(string(kind), parent)
			if _, err := r.removeDir(ctx, uses.Thing{Kind: kind, Name: name}, filepath.Join(r.store.Paths().Own, dir),
				file); err != nil {
				return fmt.Errorf("remove %s: %w", filepath.Join(dir, file), err)
			}
		}
	}
	return nil
}
