package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/fetch/fetchtest"
	"github.com/cooperbuild/cooper/build/internal/fetch/git"
	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/build/internal/fetch/web"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

func openSources(t *testing.T) *Sources {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "fetch"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *Sources) mustGet(t *testing.T, r web.Request) string {
	t.Helper()
	f, err := s.HTTP(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Path)
	if err := errors.Join(err, f.Release()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// listed are the items of a cache by the beginning of their ID.
func (s *Sources) listed(t *testing.T, kind shelf.Kind) (items []disk.Item) {
	t.Helper()
	all, err := DiskItems(t.Context(), s.kept.Path(), false)
	if err != nil {
		t.Fatal(err)
	}
	measured, err := DiskItems(t.Context(), s.kept.Path(), true)
	if err != nil {
		t.Fatal(err)
	}
	for n, i := range all {
		// What describes a tree is written after it was measured.
		if diff := measured[n].Size.Bytes - i.Size.Bytes; diff < 0 || diff > 8192 {
			t.Errorf("%s: noted %d bytes, measured %d", i.ID, i.Size.Bytes, measured[n].Size.Bytes)
		}
		if strings.HasPrefix(i.ID, string(kind)+"/") {
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
	url, _ := fetchtest.Serve(t,
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 20_000)) })
	c := openSources(t)
	address := strings.Replace(url, "http://", "http://user:secret@", 1) + "/file?token=secret"
	if text := c.mustGet(t, web.Request{URL: address}); len(text) != 20_000 {
		t.Fatal(text)
	}
	o := fetchtest.NewOrigin(t, t.TempDir(), "x")
	o.Commit("", map[string]string{"100644 f": strings.Repeat("y", 20_000)}, "refs/heads/main")
	ref, _, err := remote.ParseGit("file://" + o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := c.Git(t.Context(), git.Request{Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Release(); err != nil {
		t.Fatal(err)
	}
	for sub, want := range map[shelf.Kind]string{
		shelf.Files: strings.Replace(url, "http://", "http://xxxxx:xxxxx@", 1) + "/file", shelf.Trees: "file://" + o.Dir,
		shelf.Repos: "file://" + o.Dir,
	} {
		items := c.listed(t, sub)
		if len(items) != 1 || items[0].Label != want || items[0].Size.Bytes < 20_000 ||
			time.Since(items[0].LastUse) > time.Hour {
			if sub != shelf.Repos || len(items) != 1 || items[0].Label != want { // git compresses
				t.Errorf("%s: %+v", sub, items)
			}
		}
	}
}

func TestRemovedItemsAreFetchedAgain(t *testing.T) {
	t.Parallel()
	url, requests := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "text")
	})
	c := openSources(t)
	f, err := c.HTTP(t.Context(), web.Request{URL: url + "/f"})
	if err != nil {
		t.Fatal(err)
	}
	id := c.listed(t, shelf.Files)[0].ID
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
	for _, sub := range []shelf.Kind{shelf.Files, shelf.URLs, shelf.Sums, shelf.Temps} {
		if left, err := os.ReadDir(c.kept.Entry(sub, "")); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", sub, left, err)
		}
	}
	if _, err := os.Lstat(f.Path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	before := requests.Load()
	if text := c.mustGet(t, web.Request{URL: url + "/f"}); text != "text" || requests.Load() != before+1 {
		t.Errorf("downloaded again: %q", text)
	}
}

func TestTrimKeepsWhatIsHeldOrRecent(t *testing.T) {
	t.Parallel()
	url, requests := fetchtest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", strconv.Quote(r.URL.Path))
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, r.URL.Path)
	})
	c := openSources(t)
	held, err := c.HTTP(t.Context(), web.Request{URL: url + "/held"})
	if err != nil {
		t.Fatal(err)
	}
	loose, err := c.HTTP(t.Context(), web.Request{URL: url + "/loose"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(loose.Release(), loose.Release()); err != nil {
		t.Fatal(err)
	}
	if err := c.Trim(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(loose.Path); err != nil {
		t.Errorf("recent file: %v", err)
	}
	if err := c.Trim(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(held.Path); err != nil {
		t.Errorf("held file: %v", err)
	}
	if _, err := os.Lstat(loose.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unused file: %v", err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	before := requests.Load()
	if text := c.mustGet(t, web.Request{URL: url + "/loose"}); text != "/loose" || requests.Load() != before+1 {
		t.Errorf("downloaded again: %q", text)
	}
	if sums, _ := os.ReadDir(c.kept.Entry(shelf.Sums, "")); len(sums) != 2 {
		t.Errorf("checksums: %v", sums)
	}
}
