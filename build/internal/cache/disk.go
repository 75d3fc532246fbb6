package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// leftoverAfter is the age at which the temporary file of a record counts as left behind by a killed process: writing
// one takes an instant.
const leftoverAfter = time.Hour

// DiskItems lists the records. An item's On is the layer that its record names, and About the step. A record without a
// layer is Shared: it may belong to any image. A half-written file of a killed build is Useless.
func (c *Cache) DiskItems() (items []disk.Item, err error) {
	for _, kind := range []string{steps, shapes, files} {
		err = errors.Join(err, c.each(kind, func(id string, st *unix.Stat_t) {
			i := disk.Item{
				Kind: disk.Records, ID: id, Label: label(id), Size: usage.Size{Bytes: st.Blocks * statBlock},
				LastUse: time.Unix(st.Mtim.Unix()), Shared: true,
			}
			switch {
			case isLeftover(id, st):
				i.Useless = true
			case kind != shapes:
				c.describe(&i)
			}
			items = append(items, i)
		}))
	}
	return items, err
}

// describe reads a record.
func (c *Cache) describe(i *disk.Item) {
	rec := readRecord(filepath.Join(c.dir, i.ID))
	if rec == nil {
		i.Useless = true
		return
	}
	i.About = rec.Step
	if rec.Layer != nil {
		i.On, i.Shared = rec.Layer.ID, false
	}
}

// DiskTotal is the size of all records in bytes.
func (c *Cache) DiskTotal() (total int64, err error) {
	add := func(_ string, st *unix.Stat_t) { total += st.Blocks * statBlock }
	return total, errors.Join(c.each(steps, add), c.each(shapes, add), c.each(files, add))
}

// isLeftover tells whether a file is the temporary file of a record whose writer was killed.
func isLeftover(id string, st *unix.Stat_t) bool {
	return isTemp(id) && time.Since(time.Unix(st.Mtim.Unix())) > leftoverAfter
}

// isTemp tells whether a file is the temporary file of a record.
func isTemp(id string) bool { return strings.HasPrefix(filepath.Base(id), fsys.TempPrefix) }

// each calls f for the records of a kind and for leftover temporary files. It makes few system calls, since each build
// with a limit on disk space calls it.
func (c *Cache) each(kind string, f func(id string, st *unix.Stat_t)) error {
	dirs, err := os.ReadDir(filepath.Join(c.dir, kind))
	if err != nil {
		return fmt.Errorf("list cache records: %w", err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		if err := eachIn(filepath.Join(c.dir, kind, d.Name()), func(name string, st *unix.Stat_t) {
			if id := filepath.Join(kind, d.Name(), name); !isTemp(id) || isLeftover(id, st) {
				f(id, st)
			}
		}); err != nil {
			return fmt.Errorf("list cache records: %w", err)
		}
	}
	return nil
}

// eachIn calls f for the files of a directory.
func eachIn(path string, f func(name string, st *unix.Stat_t)) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			f(name, &st)
		}
	}
	return nil
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
