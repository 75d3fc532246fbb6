package fetch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/fetch/git"
	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/build/internal/fetch/web"
)

// Sources are files, repositories and compressed layers in a directory.
type Sources struct {
	kept *shelf.Dir
	web  *web.Room
	git  *git.Room
}

// Unfinished is where in the directory of sources that lies which isn't whole yet, a directory each.
func Unfinished(dir string) string { return filepath.Join(dir, string(shelf.Temps)) }

// Open opens the sources in a directory, which is made if it isn't there, and removes what killed processes left.
func Open(dir string) (*Sources, error) {
	kept, err := shelf.Open(dir)
	if err != nil {
		return nil, err
	}
	return in(kept), nil
}

func in(kept *shelf.Dir) *Sources {
	return &Sources{kept: kept, web: web.New(kept), git: git.New(kept)}
}

// HTTP downloads a file, or takes it from the shelf: see [web.Room.Get].
func (s *Sources) HTTP(ctx context.Context, r web.Request) (*web.File, error) {
	return s.web.Get(ctx, r)
}

// Git gets the tree of a repository, or takes it from the shelf: see [git.Room.Tree].
func (s *Sources) Git(ctx context.Context, r git.Request) (*git.Checkout, error) {
	return s.git.Tree(ctx, r)
}

// DiskItems lists what the sources in a directory are: files, repositories, trees and compressed layers. With measure
// it measures every size anew instead of reading the noted one.
func DiskItems(ctx context.Context, dir string, measure bool) ([]disk.Item, error) {
	s := in(shelf.At(dir))
	urls, err := s.web.URLs()
	if err != nil {
		return nil, err
	}
	items, err := s.kept.Items(ctx, measure)
	if err != nil {
		return nil, err
	}
	for n, i := range items {
		if kind, name, _ := strings.Cut(i.ID, "/"); kind == string(shelf.Files) {
			items[n].Label = urls[name]
		}
	}
	return items, nil
}

// RemoveItem removes what DiskItems has listed, unless somebody holds the item or has used it since the time unused.
// gone tells whether it was removed.
func (s *Sources) RemoveItem(id string, unused time.Time) (gone bool, err error) {
	return s.kept.RemoveItem(id, unused)
}

// Tidy removes two kinds of notes: server answers for URLs that nobody has asked for since the time unused, and
// checksums whose files are gone.
func (s *Sources) Tidy(unused time.Time) error { return s.web.Tidy(unused) }

// Trim removes the entries that nobody has used since the time unused and that nobody holds now.
func (s *Sources) Trim(unused time.Time) error {
	if err := errors.Join(s.kept.Trim(unused), s.web.Tidy(unused)); err != nil {
		return fmt.Errorf("trim remote sources: %w", err)
	}
	return nil
}
