package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cooperbuild/cooper/build/disk"
)

// DiskItems lists the records. If they are read, too, an item's On is the layer its record names, and About the step; else both are empty.
// What has no layer is Shared: it may belong to any image.
func (c *Cache) DiskItems(read bool) ([]disk.Item, error) {
	var items []disk.Item
	for _, kind := range []string{steps, shapes} {
		base := filepath.Join(c.dir, kind)
		dirs, err := os.ReadDir(base)
		if err != nil {
			return nil, fmt.Errorf("list cache records: %w", err)
		}
		for _, d := range dirs {
			if !d.IsDir() {
				continue
			}
			names, err := os.ReadDir(filepath.Join(base, d.Name()))
			if err != nil {
				return nil, fmt.Errorf("list cache records: %w", err)
			}
			for _, n := range names {
				if i, ok := c.item(filepath.Join(kind, d.Name(), n.Name()), read && kind == steps); ok {
					items = append(items, i)
				}
			}
		}
	}
	return items, nil
}

// item describes a record, unless it is gone or not whole yet.
func (c *Cache) item(id string, read bool) (i disk.Item, ok bool) {
	if strings.HasPrefix(filepath.Base(id), newPrefix) {
		return i, false
	}
	path := filepath.Join(c.dir, id)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return i, false
	}
	i = disk.Item{Kind: disk.Records, ID: id, Label: label(id), LastUse: info.ModTime(), Shared: true}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		i.Size.Bytes = st.Blocks * statBlock
	}
	if !read {
		return i, true
	}
	rec := readRecord(path)
	if rec == nil {
		i.Useless = true
		return i, true
	}
	i.About = rec.Step
	if rec.Layer != nil {
		i.On, i.Shared = rec.Layer.ID, false
	}
	return i, true
}

// label names a record by its kind and the beginning of its key.
func label(id string) string {
	const digits = 12
	kind, key, _ := strings.Cut(id, "/")
	key = strings.ReplaceAll(key, "/", "")
	return strings.TrimSuffix(kind, "s") + " " + key[:min(len(key), digits)]
}

// statBlock is the unit of st_blocks, in bytes.
const statBlock = 512

// Remove removes a record that DiskItems has listed. A build that counts on it runs the step again.
func (c *Cache) Remove(id string) error {
	if err := os.Remove(filepath.Join(c.dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cache record: %w", err)
	}
	return nil
}
