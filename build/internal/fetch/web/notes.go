package web

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
)

// URLs gives the URLs of files by entry.
func (s *Room) URLs() (map[string]string, error) {
	urls := map[string]string{}
	for _, sub := range []shelf.Kind{shelf.Sums, shelf.URLs} {
		entries, err := s.kept.Entries(sub)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			var m meta
			if shelf.ReadJSON(s.metaPath(sub, e.Name()), &m) == nil && m.URL != "" {
				urls[m.Entry] = m.URL
			}
		}
	}
	return urls, nil
}

// metaPath is the file that says which file of the shelf a URL or a checksum stands for.
func (s *Room) metaPath(sub shelf.Kind, name string) string {
	if sub == shelf.URLs {
		return filepath.Join(s.kept.Entry(sub, name), metaFile)
	}
	return s.kept.Entry(sub, name)
}

// Tidy removes two kinds of notes: server answers for URLs that nobody has asked for since the time unused, and
// checksums whose files are gone.
func (s *Room) Tidy(unused time.Time) error {
	entries, err := s.kept.Entries(shelf.URLs)
	errs := []error{err}
	for _, e := range entries {
		var m meta
		if shelf.ReadJSON(s.metaPath(shelf.URLs, e.Name()), &m) == nil && m.Entry != "" {
			if _, err := os.Lstat(m.path(s.kept)); err == nil {
				continue
			}
		}
		_, err := s.kept.Remove(s.kept.Entry(shelf.URLs, e.Name()), unused)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, s.trimSums())...); err != nil {
		return fmt.Errorf("tidy remote sources: %w", err)
	}
	return nil
}

// trimSums removes the checksums whose files are gone.
func (s *Room) trimSums() error {
	entries, err := s.kept.Entries(shelf.Sums)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := s.kept.Entry(shelf.Sums, e.Name())
		var m meta
		if shelf.ReadJSON(path, &m) == nil {
			if _, err := os.Lstat(m.path(s.kept)); err == nil {
				continue
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
