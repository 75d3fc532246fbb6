package cache_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/cache"
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
		if err := c.MarkSeen(k); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Seen(k) {
		t.Error("not seen after it was marked")
	}
}

func TestOnlyOneHoldsALock(t *testing.T) {
	c, _ := open(t)
	k := cache.NewKey("run").Key()
	held := 0
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			unlock, err := c.Lock(k)
			if err != nil {
				t.Error(err)
				return
			}
			if held++; held != 1 {
				t.Errorf("%d hold the lock", held)
			}
			held--
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
