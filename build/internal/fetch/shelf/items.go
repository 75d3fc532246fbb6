package shelf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

// about is what an entry says of itself, in a file beside its tree.
type about struct {
	// URL is the address that the tree was fetched from, without credentials.
	URL string
	// Size is what the tree takes on disk, in bytes.
	Size int64
}

const aboutFile = "about.json"

// Describe writes the file for an entry whose tree has just been made or changed.
func Describe(ctx context.Context, entry, url string) error {
	size, err := usage.Measure(ctx, entry)
	if err != nil {
		return err
	}
	text, err := json.Marshal(about{URL: WithoutQuery(url), Size: size.Bytes})
	if err != nil {
		return err
	}
	// The file may be damaged after a crash; readers treat it as missing then.
	return os.WriteFile(filepath.Join(entry, aboutFile), text, 0o600)
}

// WithoutQuery leaves the query out of a URL: it may have a signature or a token in it.
func WithoutQuery(url string) string {
	before, after, has := strings.Cut(url, "?")
	if !has {
		return url
	}
	if _, fragment, ok := strings.Cut(after, "#"); ok {
		before += "#" + fragment
	}
	return before
}

// Items lists what the directory holds: files, repositories, trees and compressed layers. With measure
// it measures every size anew instead of reading the noted one.
func (d *Dir) Items(ctx context.Context, measure bool) ([]disk.Item, error) {
	var items []disk.Item
	for _, sub := range []Kind{Files, Trees, Repos, Blobs} {
		entries, err := d.Entries(sub)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			i, err := d.item(ctx, sub, e, measure || sub == Files)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			items = append(items, i)
		}
	}
	return items, nil
}

// Entries lists the entries of a kind. A directory that isn't there has none.
func (d *Dir) Entries(sub Kind) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, string(sub)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list remote sources: %w", err)
	}
	return entries, nil
}

// item describes an entry.
func (d *Dir) item(ctx context.Context, sub Kind, e fs.DirEntry, measure bool) (i disk.Item, err error) {
	info, err := e.Info()
	if err != nil || !info.IsDir() {
		return i, errors.Join(err, fs.ErrNotExist)
	}
	path := filepath.Join(d.path, string(sub), e.Name())
	i = disk.Item{Kind: disk.Sources, ID: string(sub) + "/" + e.Name(), LastUse: info.ModTime(), About: map[Kind]string{
		Files: "file", Trees: "tree of a commit", Repos: "git repository",
		Blobs: "compressed layer",
	}[sub]}
	var a about
	known := ReadJSON(filepath.Join(path, aboutFile), &a) == nil
	i.Label, i.Size.Bytes = a.URL, a.Size
	if measure || !known {
		i.Size, err = usage.Measure(ctx, path)
	}
	return i, err
}

// RemoveItem removes what Items has listed, unless somebody holds the item or has used it since the time unused.
// gone tells whether it was removed.
func (d *Dir) RemoveItem(id string, unused time.Time) (gone bool, err error) {
	sub, name, _ := strings.Cut(id, "/")
	if gone, err = d.Remove(d.Entry(Kind(sub), name), unused); err != nil {
		return gone, fmt.Errorf("remove remote source: %w", err)
	}
	return gone, nil
}
