package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
)

// listed are the items of a cache by the beginning of their ID.
func (c *Sources) listed(t *testing.T, sub string) (items []disk.Item) {
	t.Helper()
	all, err := DiskItems(t.Context(), c.dir, false)
	if err != nil {
		t.Fatal(err)
	}
	measured, err := DiskItems(t.Context(), c.dir, true)
	if err != nil {
		t.Fatal(err)
	}
	for n, i := range all {
		// What describes a tree is written after it was measured.
		if diff := measured[n].Size.Bytes - i.Size.Bytes; diff < 0 || diff > 8192 {
			t.Errorf("%s: noted %d bytes, measured %d", i.ID, i.Size.Bytes, measured[n].Size.Bytes)
		}
		if strings.HasPrefix(i.ID, sub+"/") {
			items = append(items, i)
		}
	}
	return items
}

func TestItemsAreNamedWithoutCredentials(t *testing.T) {
	t.Parallel()
	if items, err := DiskItems(t.Context(), filepath.Join(t.TempDir(), "none"), true); err != nil || len(items) != 0 {
		t.Errorf("%v, %v", items, err)
	}
	url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 20_000)) })
	c := openCache(t)
	address := strings.Replace(url, "http://", "http://user:secret@", 1) + "/file?token=secret"
	if _, text := c.mustGet(t, HTTPRequest{URL: address}); len(text) != 20_000 {
		t.Fatal(text)
	}
	o := newOrigin(t, t.TempDir(), "x")
	o.commit("", map[string]string{"100644 f": strings.Repeat("y", 20_000)}, "refs/heads/main")
	tree, err := c.Git(t.Context(), gitRequest(t, "file://"+o.dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Release(); err != nil {
		t.Fatal(err)
	}
	for sub, want := range map[string]string{
		filesDir: strings.Replace(url, "http://", "http://xxxxx:xxxxx@", 1) + "/file", treesDir: "file://" + o.dir,
		reposDir: "file://" + o.dir,
	} {
		items := c.listed(t, sub)
		if len(items) != 1 || items[0].Label != want || items[0].Size.Bytes < 20_000 ||
			time.Since(items[0].LastUse) > time.Hour {
			if sub != reposDir || len(items) != 1 || items[0].Label != want { // git compresses
				t.Errorf("%s: %+v", sub, items)
			}
		}
	}
}

func TestRemovedItemsAreFetchedAgain(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "text")
	})
	c := openCache(t)
	f, err := c.HTTP(t.Context(), HTTPRequest{URL: url + "/f"})
	if err != nil {
		t.Fatal(err)
	}
	id := c.listed(t, filesDir)[0].ID
	later := time.Now().Add(time.Hour)
	if gone, err := c.RemoveItem(id, later); gone || err != nil {
		t.Errorf("held: %t, %v", gone, err)
	}
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	if gone, err := c.RemoveItem(id, time.Now().Add(-time.Hour)); gone || err != nil {
		t.Errorf("used since: %t, %v", gone, err)
	}
	for range 2 { // what is gone is gone
		if gone, err := c.RemoveItem(id, later); !gone || err != nil {
			t.Errorf("%t, %v", gone, err)
		}
	}
	if err := c.Tidy(later); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{filesDir, urlsDir, sumsDir, tmpDir} {
		if left, err := os.ReadDir(c.entry(sub, "")); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", sub, left, err)
		}
	}
	if _, err := os.Lstat(f.Path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	before := requests.Load()
	if _, text := c.mustGet(t, HTTPRequest{URL: url + "/f"}); text != "text" || requests.Load() != before+1 {
		t.Errorf("downloaded again: %q", text)
	}
}
