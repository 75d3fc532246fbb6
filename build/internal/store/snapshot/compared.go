package snapshot

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"
)

// compare finds what a directory has other than the one below it; "" is an empty one. Files that are in written have
// changed, whatever they look like.
func compare(ctx context.Context, dir, below string, written map[string]bool) ([]archive.Change, error) {
	none := &idtools.IDMappings{}
	changes, err := archive.ChangesDirs(dir, none, below, none)
	if err != nil || below == "" {
		return changes, err
	}
	known := map[string]bool{"/": true}
	for _, c := range changes {
		known[c.Path] = true
	}
	err = eachFile(ctx, dir, func(name string, is fs.FileInfo) error {
		if known[name] || !written[name] && !withinASecond(filepath.Join(below, name), is) {
			return nil
		}
		for ; !known[name]; name = filepath.Dir(name) {
			known[name] = true
			changes = append(changes, archive.Change{Path: name, Kind: archive.ChangeModify})
		}
		return nil
	})
	return changes, err
}

// withinASecond tells whether a file was written anew in the second of the one below. If the size stays the same, the
// library takes it for the same file, since it compares a time without fractions, as layers have, by its seconds.
func withinASecond(below string, is fs.FileInfo) bool {
	if is.ModTime().Nanosecond() == 0 {
		return false
	}
	was, err := os.Lstat(below)
	return err == nil && !was.ModTime().Equal(is.ModTime())
}

// eachFile calls f with all that is no directory, named from the root on.
func eachFile(ctx context.Context, dir string, f func(name string, is fs.FileInfo) error) error {
	return filepath.WalkDir(dir+"/", func(full string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, context.Cause(ctx)); err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		is, err := e.Info()
		if err != nil {
			return err
		}
		return f("/"+rel, is)
	})
}

// written are the names of what layers have, but for directories and the marks of what they remove. Files of committed
// layers have no fractions of seconds to tell them by.
func (c Chains) written(layers []string) (map[string]bool, error) {
	names := map[string]bool{}
	for _, id := range layers {
		l, err := c.room.store.Layer(id)
		if err != nil {
			return nil, err
		}
		text, err := c.room.store.LayerTar(l)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(noteNames(text, names), text.Close()); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", id, err)
		}
	}
	return names, nil
}

func noteNames(text io.Reader, names map[string]bool) error {
	for members := tar.NewReader(text); ; {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeDir {
			names[path.Clean("/"+h.Name)] = true
		}
	}
}
