package fetch

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
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// about is what an entry says of itself, in a file beside its tree.
type about struct {
	// URL is the address that the tree was fetched from, without credentials.
	URL string
	// Size is what the tree takes on disk, in bytes.
	Size int64
}

const aboutFile = "about.json"

// describe writes the file for an entry whose tree has just been made or changed.
func describe(ctx context.Context, entry, url string) error {
	size, err := layer.Measure(ctx, entry)
	if err != nil {
		return err
	}
	text, err := json.Marshal(about{URL: withoutQuery(url), Size: size.Bytes})
	if err != nil {
		return err
	}
	// The file may be damaged after a crash; readers treat it as missing then.
	return os.WriteFile(filepath.Join(entry, aboutFile), text, 0o600)
}

// withoutQuery leaves the query out of a URL: it may have a signature or a token in it.
func withoutQuery(url string) string {
	before, after, has := strings.Cut(url, "?")
	if !has {
		return url
	}
	if _, fragment, ok := strings.Cut(after, "#"); ok {
		before += "#" + fragment
	}
	return before
}

// DiskItems lists what the cache in a directory holds: files, repositories, trees and compressed layers. With measure
// it measures every size anew instead of reading the noted one.
func DiskItems(ctx context.Context, dir string, measure bool) ([]disk.Item, error) {
	c := &Sources{dir: dir}
	urls, err := c.fileURLs()
	if err != nil {
		return nil, err
	}
	var items []disk.Item
	for _, sub := range []string{filesDir, treesDir, reposDir, blobsDir} {
		entries, err := c.entries(sub)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			i, err := c.item(ctx, sub, e, measure || sub == filesDir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if sub == filesDir {
				i.Label = urls[e.Name()]
			}
			items = append(items, i)
		}
	}
	return items, nil
}

// entries lists a directory of the cache, which may not be there.
func (c *Sources) entries(sub string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(filepath.Join(c.dir, sub))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list remote sources: %w", err)
	}
	return entries, nil
}

// item describes an entry.
func (c *Sources) item(ctx context.Context, sub string, e fs.DirEntry, measure bool) (i disk.Item, err error) {
	info, err := e.Info()
	if err != nil || !info.IsDir() {
		return i, errors.Join(err, fs.ErrNotExist)
	}
	path := filepath.Join(c.dir, sub, e.Name())
	i = disk.Item{Kind: disk.Sources, ID: sub + "/" + e.Name(), LastUse: info.ModTime(), About: map[string]string{
		filesDir: "file", treesDir: "tree of a commit", reposDir: "git repository",
		blobsDir: "compressed layer",
	}[sub]}
	var a about
	known := readJSON(filepath.Join(path, aboutFile), &a) == nil
	i.Label, i.Size.Bytes = a.URL, a.Size
	if measure || !known {
		i.Size, err = layer.Measure(ctx, path)
	}
	return i, err
}

// fileURLs gives the URLs of files by entry.
func (c *Sources) fileURLs() (map[string]string, error) {
	urls := map[string]string{}
	for _, sub := range []string{sumsDir, urlsDir} {
		entries, err := c.entries(sub)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			var m meta
			if readJSON(c.metaPath(sub, e.Name()), &m) == nil && m.URL != "" {
				urls[m.Entry] = m.URL
			}
		}
	}
	return urls, nil
}

// metaPath is the file that says which file of the cache a URL or a checksum stands for.
func (c *Sources) metaPath(sub, name string) string {
	if sub == urlsDir {
		return filepath.Join(c.dir, sub, name, metaFile)
	}
	return filepath.Join(c.dir, sub, name)
}

// RemoveItem removes what DiskItems has listed, unless somebody holds the item or has used it since the time unused.
// gone tells whether it was removed.
func (c *Sources) RemoveItem(id string, unused time.Time) (gone bool, err error) {
	sub, name, _ := strings.Cut(id, "/")
	if gone, err = c.remove(c.entry(sub, name), unused); err != nil {
		return gone, fmt.Errorf("remove remote source: %w", err)
	}
	return gone, nil
}

// Tidy removes two kinds of notes: server answers for URLs that nobody has asked for since the time unused, and
// checksums whose files are gone.
func (c *Sources) Tidy(unused time.Time) error {
	entries, err := c.entries(urlsDir)
	errs := []error{err}
	for _, e := range entries {
		var m meta
		if readJSON(c.metaPath(urlsDir, e.Name()), &m) == nil && m.Entry != "" {
			if _, err := os.Lstat(m.path(c)); err == nil {
				continue
			}
		}
		_, err := c.remove(c.entry(urlsDir, e.Name()), unused)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, c.trimSums())...); err != nil {
		return fmt.Errorf("tidy remote sources: %w", err)
	}
	return nil
}
