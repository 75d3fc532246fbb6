package cache_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/cache"
)

// fill puts records into a cache: one with a layer, one without, a shape, and what can't be read.
func fill(t *testing.T, c *cache.Cache, dir string) {
	t.Helper()
	key := func(kind string) cache.Key { return cache.NewKey(kind).Key() }
	damaged := key("damaged")
	path := filepath.Join(dir, "steps", string(damaged[:2]), string(damaged[2:]))
	if err := errors.Join(
		c.Put(key("run"), cache.Record{Created: time.Now(), Step: "RUN x", Layer: &cache.Layer{ID: "l1"}}),
		c.Put(key("empty"), cache.Record{Created: time.Now(), Step: "RUN true"}), c.MarkSeen(key("shape"), ""),
		c.Put(damaged, cache.Record{Created: time.Now(), Step: "RUN y"}), os.WriteFile(path, []byte("{"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// items lists what a cache holds, by what it is about or else its kind.
func items(t *testing.T, c *cache.Cache) map[string]disk.Item {
	t.Helper()
	list, err := c.DiskItems()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]disk.Item{}
	for _, i := range list {
		name := i.About
		if name == "" {
			name, _, _ = strings.Cut(i.Label, " ")
			if i.Useless {
				name = "useless " + name
			}
		}
		if _, twice := all[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		all[name] = i
	}
	return all
}

func TestRecordsSayWhatTheyStandOn(t *testing.T) {
	c, dir := open(t)
	fill(t, c, dir)
	got := items(t, c)
	var total int64
	for name, want := range map[string]disk.Item{
		"RUN x":    {On: "l1"},
		"RUN true": {Shared: true},
		"shape":    {Shared: true},
		// Nothing is known of it, so that a build of any image might have used it.
		"useless step": {Shared: true, Useless: true},
	} {
		i, ok := got[name]
		if !ok {
			t.Errorf("%s is not listed", name)
			continue
		}
		if i.Kind != disk.Records || time.Since(i.LastUse) > time.Hour || strings.Contains(i.Label, "/") ||
			len(i.Label) > len("shape ")+12 {
			t.Errorf("%s: %+v", name, i)
		}
		if diff := cmp.Diff(want, disk.Item{On: i.On, Shared: i.Shared, Useless: i.Useless}); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		total += i.Size.Bytes
	}
	if len(got) != 4 {
		t.Errorf("%d items: %v", len(got), got)
	}
	if sum, err := c.DiskTotal(); err != nil || sum != total {
		t.Errorf("together %d bytes, %v; the items have %d", sum, err, total)
	}
}

func TestToListRecordsIsNoUseOfThem(t *testing.T) {
	c, dir := open(t)
	fill(t, c, dir)
	long := time.Unix(1_000_000_000, 0)
	for _, name := range files(t, dir) {
		if err := os.Chtimes(filepath.Join(dir, name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	items(t, c)
	for name, i := range items(t, c) {
		if !i.LastUse.Equal(long) {
			t.Errorf("%s was last used %v", name, i.LastUse)
		}
	}
}

func TestARemovedRecordIsNotThere(t *testing.T) {
	c, dir := open(t)
	fill(t, c, dir)
	for _, i := range items(t, c) {
		for range 2 { // somebody else may have removed it
			if err := c.Remove(i.ID); err != nil {
				t.Error(err)
			}
		}
	}
	if left := items(t, c); len(left) != 0 || len(files(t, dir)) != 0 {
		t.Errorf("left: %v, %v", left, files(t, dir))
	}
	if c.Get(cache.NewKey("run").Key()) != nil || c.Seen(cache.NewKey("shape").Key()) {
		t.Error("a removed record is used")
	}
}

// TestWhatAKilledBuildHasHalfWrittenGoes has one that is being written stay.
func TestWhatAKilledBuildHasHalfWrittenGoes(t *testing.T) {
	c, dir := open(t)
	for name, age := range map[string]time.Duration{
		"steps/0a/.new-dead": 2 * time.Hour, "steps/0a/.new-alive": 0, "shapes/0a/.new-dead": 2 * time.Hour,
	} {
		path := filepath.Join(dir, name)
		when := time.Now().Add(-age)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("{"), 0o600),
			os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	got := items(t, c)
	for name, i := range got {
		if !i.Useless {
			t.Errorf("%s can be of use", name)
		}
		if err := c.Remove(i.ID); err != nil {
			t.Error(err)
		}
	}
	if left := files(t, dir); len(got) != 2 || !cmp.Equal(left, []string{"steps/0a/.new-alive"}) {
		t.Errorf("%d were listed; left: %v", len(got), left)
	}
}

func TestOnlyFilesAreRecords(t *testing.T) {
	c, dir := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	at := filepath.Join(dir, "steps", "0a")
	if err := errors.Join(os.MkdirAll(filepath.Join(at, "dir"), 0o700), os.WriteFile(secret, []byte("{}"), 0o600),
		os.Symlink(secret, filepath.Join(at, "link")), os.WriteFile(filepath.Join(dir, "steps", "stray"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	if got := items(t, c); len(got) != 0 {
		t.Errorf("listed: %v", got)
	}
	if total, err := c.DiskTotal(); total != 0 || err != nil {
		t.Errorf("%d bytes, %v", total, err)
	}
}

func TestACacheThatCannotBeListedIsAnError(t *testing.T) {
	c, dir := open(t)
	if err := os.RemoveAll(filepath.Join(dir, "shapes")); err != nil {
		t.Fatal(err)
	}
	fill := cache.NewKey("run").Key()
	if err := c.Put(fill, cache.Record{Created: time.Now(), Step: "RUN x"}); err != nil {
		t.Fatal(err)
	}
	list, err := c.DiskItems()
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "list cache records: ") {
		t.Errorf("got %v", err)
	}
	if len(list) != 1 {
		t.Errorf("what can be listed is lost: %v", list)
	}
	if err := c.Remove("steps"); err == nil || !strings.HasPrefix(err.Error(), "remove cache record: ") {
		t.Errorf("a directory with records was removed: %v", err)
	}
}
