package cache_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

func TestDifferentPartsGiveDifferentKeys(t *testing.T) {
	seen := map[cache.Key]string{}
	for name, k := range map[string]*cache.KeyBuilder{
		"no part":            cache.NewKey("run"),
		"other kind":         cache.NewKey("copy"),
		"one value":          cache.NewKey("run").Add("args", "ab"),
		"two values":         cache.NewKey("run").Add("args", "a", "b"),
		"two parts":          cache.NewKey("run").Add("args", "a").Add("b"),
		"no value":           cache.NewKey("run").Add("args"),
		"empty value":        cache.NewKey("run").Add("args", ""),
		"value in the name":  cache.NewKey("run").Add("argsab"),
		"other name":         cache.NewKey("run").Add("env", "ab"),
		"nothing but a null": cache.NewKey("run").Add("args", "\x00"),
	} {
		if other, ok := seen[k.Key()]; ok {
			t.Errorf("%q and %q have one key", name, other)
		}
		seen[k.Key()] = name
	}
}

func TestAKeyDependsOnNothingButItsParts(t *testing.T) {
	newKey := func() cache.Key { return cache.NewKey("run").Add("args", "sh", "-c", "true").Key() }
	if first, second := newKey(), newKey(); first != second {
		t.Error("the same parts gave two keys")
	}
}

func TestContentIDsTellRootsApart(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	base := cache.ImageContentID([]digest.Digest{a})
	ids := map[cache.ContentID]bool{
		"": true, base: true, cache.ContentID("").Above(a): true, base.Above(a): true, base.Above(b): true,
		base.Above(a).Above(b): true, base.Above(b).Above(a): true, cache.ImageContentID([]digest.Digest{a, b}): true,
	}
	if len(ids) != 8 {
		t.Errorf("8 roots have %d content IDs", len(ids))
	}
	if cache.ImageContentID(nil) != "" {
		t.Error("an image without layers is not the empty root")
	}
}

func open(t *testing.T) (*cache.Cache, string) {
	t.Helper()
	dir := t.TempDir()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestARecordComesBackAsItWasPut(t *testing.T) {
	c, _ := open(t)
	k := cache.NewKey("run").Key()
	if c.Get(k) != nil {
		t.Fatal("there is a record before any was put")
	}
	want := cache.Record{
		Layer:   &cache.Layer{ID: "x", Parent: "p", DiffID: digest.FromString("d"), Size: 7},
		Content: digest.FromString("c"), Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Took: time.Second,
		Step: "RUN x",
	}
	if err := c.Put(k, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, c.Get(k)); diff != "" {
		t.Error(diff)
	}
}

func TestADamagedRecordIsNoRecord(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	for name, text := range map[string]string{"empty": "", "cut short": `{"created":"2026-01-0`, "without time": `{}`,
		"not JSON": "\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "steps", string(k[:2]), string(k[2:]))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if r := c.Get(k); r != nil {
				t.Errorf("got %+v", r)
			}
			if err := c.Put(k, cache.Record{Created: time.Now()}); err != nil || c.Get(k) == nil {
				t.Errorf("it can't be replaced: %v", err)
			}
		})
	}
}

func TestAShapeIsSeenOnceItIsMarked(t *testing.T) {
	c, _ := open(t)
	k := cache.NewKey("run").Key()
	if c.Seen(k) {
		t.Error("seen before it was marked")
	}
	for range 2 {
		if err := c.MarkSeen(k, ""); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Seen(k) {
		t.Error("not seen after it was marked")
	}
}

func TestAKeyGoesOnAfterItWasRead(t *testing.T) {
	b := cache.NewKey("run").Add("a")
	first := b.Key()
	if b.Key() != first {
		t.Error("to read a key changes it")
	}
	if b.Add("b").Key() == first || b.Key() != cache.NewKey("run").Add("a").Add("b").Key() {
		t.Error("what was added after a key was read is lost")
	}
	if len(first) != 64 || strings.Trim(string(first), "0123456789abcdef") != "" {
		t.Errorf("%q is not 64 hex digits", first)
	}
}

// TestKeysStayAsTheyAre fails when keys change: then every cache is cold once, which has to be meant.
func TestKeysStayAsTheyAre(t *testing.T) {
	a := digest.FromString("a")
	for got, want := range map[string]string{
		string(cache.NewKey("run").Add("args", "sh", "",
			"\x00").Key()): "d80236b214672aea0a97cbbc220ea90c392c9ab376ea56ff5597c3b26157b89c",
		string(cache.ImageContentID(
			[]digest.Digest{a})): "8f9871c25ce5e71812b0a25c35d58f3f23b62358a51a2bc0a8bc597de71da2d8",
		string(cache.ContentID("").Above(
			a)): "3992627703d4e02e34003ac6e2a441633f45cc19bca169ead01f18a06989989d",
	} {
		if got != want {
			t.Errorf("%s, it was %s", got, want)
		}
	}
}

// files are the paths below a directory, but for those of locks.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "locks" {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAnotherProcessSeesTheRecords(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	if err := errors.Join(c.Put(k, cache.Record{Created: time.Now(), Step: "RUN x"}), c.MarkSeen(k, "")); err != nil {
		t.Fatal(err)
	}
	other, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if rec := other.Get(k); rec == nil || rec.Step != "RUN x" || !other.Seen(k) {
		t.Errorf("record %+v, seen %v", rec, other.Seen(k))
	}
	if other.Get(cache.NewKey("copy").Key()) != nil || other.Seen(cache.NewKey("copy").Key()) {
		t.Error("another key has the record")
	}
}

func TestRecordsAreForTheirOwnerOnly(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	if err := errors.Join(c.Put(k, cache.Record{Created: time.Now()}), c.MarkSeen(k, "")); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, infoErr := d.Info(); path != dir && (infoErr != nil || info.Mode()&0o077 != 0) {
			t.Errorf("%s: %v, %v", path, info.Mode(), infoErr)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestTheLastRecordPutIsTheOneThatIsThere(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	for _, step := range []string{"first", "second"} {
		if err := c.Put(k, cache.Record{Created: time.Now(), Step: step}); err != nil {
			t.Fatal(err)
		}
	}
	if rec := c.Get(k); rec == nil || rec.Step != "second" {
		t.Errorf("got %+v", rec)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
}

// TestRecordsAreSeenWhole has many write and read one record at once: a reader gets one of them, never a part.
func TestRecordsAreSeenWhole(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	record := func(i int) cache.Record {
		return cache.Record{Created: time.Unix(int64(i+1), 0), Step: strings.Repeat(fmt.Sprint(i), 5000*(i+1))}
	}
	if err := c.Put(k, record(0)); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range 50 {
				if err := errors.Join(c.Put(k, record(i)), c.MarkSeen(k, "")); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for range 100 {
				rec := c.Get(k)
				if rec == nil {
					t.Error("there is no record for a moment")
					continue
				}
				if want := record(int(rec.Created.Unix()) - 1); rec.Step != want.Step {
					t.Errorf("a mixture of %d bytes", len(rec.Step))
				}
			}
		})
	}
	group.Wait()
	if got := files(t, dir); len(got) != 2 {
		t.Errorf("there are %v", got)
	}
}

func TestARecordThatCannotBeReadCountsAsNone(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	path := filepath.Join(dir, "steps", string(k[:2]), string(k[2:]))
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if rec := c.Get(k); rec != nil {
		t.Errorf("got %+v", rec)
	}
	err := c.Put(k, cache.Record{Created: time.Now()})
	if err == nil || !strings.HasPrefix(err.Error(), "write cache record: ") || !strings.Contains(err.Error(), path) {
		t.Errorf("a directory in the record's place: %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestACacheThatCannotBeOpenedIsAnErrorWithItsPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Open(dir); err == nil || !strings.HasPrefix(err.Error(), "open cache: ") ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

func TestToLookARecordUpIsAUse(t *testing.T) {
	c, dir := open(t)
	k := cache.NewKey("run").Key()
	if err := errors.Join(c.Put(k, cache.Record{Created: time.Now()}), c.MarkSeen(k, "")); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-48 * time.Hour)
	for _, kind := range []string{"steps", "shapes"} {
		path := filepath.Join(dir, kind, string(k[:2]), string(k[2:]))
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
		if kind == "steps" {
			c.Get(k)
		} else if err := c.MarkSeen(k, ""); err != nil { // a shape is marked by each build that has it
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) > time.Hour {
			t.Errorf("%s: last used %v, %v", kind, info.ModTime(), err)
		}
	}
}
