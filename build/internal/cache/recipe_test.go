package cache_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

func openIn(t *testing.T) (c *cache.Cache, dir string) {
	t.Helper()
	dir = t.TempDir()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestARecipeSaysWhatAKeyIsMadeOfAndNoValues(t *testing.T) {
	build := func(k *cache.KeyBuilder) *cache.KeyBuilder {
		return k.Add("args", "/bin/sh", "-c", "make").Add("env", "TOKEN=hunter2", "EMPTY").Add("volume", "/home/me", "/v",
			"true").
			Add("file", "/h", "644", "some text").Add("long", strings.Repeat("x", 5000))
	}
	recorded := build(cache.NewKey("run").Recorded())
	if recorded.Key() != build(cache.NewKey("run")).Key() {
		t.Error("a key that is recorded is another one")
	}
	recorded.Note("shown", "stage a")
	if recorded.Key() != build(cache.NewKey("run")).Key() {
		t.Error("a note changes the key")
	}
	c, _ := openIn(t)
	k := recorded.Key()
	if err := c.Put(k, cache.Record{Created: time.Now(), Step: "RUN make", Recipe: recorded.Recipe(nil)}); err != nil {
		t.Fatal(err)
	}
	if got := c.Get(k); got == nil || got.Step != "RUN make" || got.Recipe != nil {
		t.Errorf("the record is %+v", got)
	}
	got, err := c.Recipe(k)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(got.Parts)
	for _, secret := range []string{"hunter2", "/home/me", "some text"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in it: %s", secret, text)
		}
	}
	if !strings.HasPrefix(text, "[{args [/bin/sh -c make]} {env [TOKEN=") || len(text) > 3000 {
		t.Errorf("it is %s", text)
	}
}

func TestALongRecipeIsKeptAndFound(t *testing.T) {
	var list strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&list, "f 644 0:0 %012x  dir/sub/file%d\n", i, i)
	}
	r := &cache.Recipe{Parts: []cache.Part{{Name: "dest", Values: []string{"/"}}},
		Files: map[string]string{"": list.String()}}
	c, dir := openIn(t)
	k := cache.NewKey("long").Key()
	if err := c.Put(k, cache.Record{Created: time.Now(), Recipe: r}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Recipe(k)
	if diff := cmp.Diff(r, got); err != nil || diff != "" || c.Get(k) == nil {
		t.Errorf("%v: %s", err, diff)
	}
	packed := r.Pack(300)
	short := cache.UnpackRecipe(packed)
	if len(packed) > 300 || short == nil || cmp.Diff(r.Parts, short.Parts) != "" || len(short.Files[""]) > 0 {
		t.Errorf("packed in %d bytes it is %v", len(packed), short)
	}
	if whole := cache.UnpackRecipe(r.Pack(1 << 20)); cmp.Diff(r, whole) != "" {
		t.Error("what fits is not whole")
	}
	path := filepath.Join(dir, "steps", string(k[:2]), string(k[2:]))
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) > list.Len()/2 {
		t.Fatalf("the record takes %d bytes for %d: %v", len(raw), list.Len(), err)
	}
	if err := os.WriteFile(path, raw[:len(raw)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recipe(k); err == nil || c.Get(k) == nil {
		t.Errorf("of a damaged recipe it says %v, and the record is %v", err, c.Get(k))
	}
	if _, err := c.Recipe(cache.NewKey("none").Key()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if cache.UnpackRecipe([]byte("(\xb5/\xfdnonsense")) != nil || cache.UnpackRecipe(nil) != nil {
		t.Error("nonsense is read")
	}
}

func TestTheLastEvictionOfAResultIsKnown(t *testing.T) {
	c, dir := openIn(t)
	k := cache.NewKey("x").Key()
	if c.Evicted("layer", k) != nil {
		t.Error("something is known before anything was removed")
	}
	record := "steps/" + string(k[:2]) + "/" + string(k[2:])
	for _, e := range []struct{ id, by string }{{"layer", "first"}, {record, "second"}, {"other", "third"}} {
		if err := c.NoteEvictions([]string{e.id}, e.by); err != nil {
			t.Fatal(err)
		}
	}
	if e := c.Evicted("layer", ""); e == nil || e.By != "first" || time.Since(e.When) > time.Hour {
		t.Errorf("of the layer: %+v", e)
	}
	if e := c.Evicted("layer", k); e == nil || e.By != "second" {
		t.Errorf("of both: %+v", e)
	}
	many := make([]string, 4000)
	for i := range many {
		many[i] = strings.Repeat("x", 100)
	}
	for range 5 {
		if err := c.NoteEvictions(many, "more"); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "evictions")); err != nil || info.Size() > 2<<20 ||
		c.Evicted("layer", k) != nil {
		t.Errorf("the list has grown to %v, %v", info.Size(), err)
	}
}

func TestTheLastBuildsOfDirectoriesAreKept(t *testing.T) {
	c, _ := openIn(t)
	a, b := cache.ProjectKey("/a", "1"), cache.ProjectKey("/a", "2")
	for _, err := range []error{c.PutBuild(a, []byte("one"), nil), c.PutBuild(b, []byte("two"), []byte("old")),
		c.PutBuild(a, []byte("three"), nil), c.PutBuild(cache.ProjectKey("/b", ""), []byte("four"), nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if last, earlier := c.Build(a); string(last) != "three" || earlier != nil {
		t.Errorf("%s, %s", last, earlier)
	}
	if last, earlier := c.Build(b); string(last) != "two" || string(earlier) != "old" {
		t.Errorf("%s, %s", last, earlier)
	}
	if got := c.BuildsOf("/a"); len(got) != 2 || len(c.BuildsOf("/none")) != 0 {
		t.Errorf("of /a are %v", got)
	}
	for i := range 40 {
		if err := c.PutBuild(cache.ProjectKey("/many", fmt.Sprint(i)), []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.BuildsOf("/many"); len(got) > 20 || len(got) == 0 {
		t.Errorf("%d are kept", len(got))
	}
}

func TestTheStepOfAShapeThatRanLastIsKnown(t *testing.T) {
	c, _ := openIn(t)
	shape, one, two := cache.NewKey("shape").Key(), cache.NewKey("1").Key(), cache.NewKey("2").Key()
	if c.LastOf(shape) != "" {
		t.Error("one is known before any ran")
	}
	for _, step := range []struct{ ran, want cache.Key }{{"", ""}, {one, one}, {"", one}, {two, two}} {
		if err := c.MarkSeen(shape, step.ran); err != nil || c.LastOf(shape) != step.want || !c.Seen(shape) {
			t.Errorf("after %q: %q, %v", step.ran, c.LastOf(shape), err)
		}
	}
}
