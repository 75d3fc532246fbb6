package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConcurrentDownloadsShareOne(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("x", 1<<20)
	var bodies atomic.Int64
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		bodies.Add(1)
		fmt.Fprint(w, content)
	})
	first := openCache(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			c, err := Open(first.dir) // as another process would
			if err != nil {
				t.Error(err)
				return
			}
			f, err := c.HTTP(t.Context(), HTTPRequest{URL: url + "/x"})
			if err != nil {
				t.Error(n, err)
				return
			}
			if text, err := os.ReadFile(f.Path); err != nil || string(text) != content {
				t.Errorf("%d: %d bytes, %v", n, len(text), err)
			}
			if err := f.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if bodies.Load() != 1 {
		t.Errorf("downloaded %d times", bodies.Load())
	}
}

func TestTrimKeepsWhatIsHeldOrRecent(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", strconv.Quote(r.URL.Path))
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, r.URL.Path)
	})
	c := openCache(t)
	held, err := c.HTTP(t.Context(), HTTPRequest{URL: url + "/held"})
	if err != nil {
		t.Fatal(err)
	}
	loose, err := c.HTTP(t.Context(), HTTPRequest{URL: url + "/loose"})
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
	if _, text := c.mustGet(t, HTTPRequest{URL: url + "/loose"}); text != "/loose" || requests.Load() != before+1 {
		t.Errorf("downloaded again: %q", text)
	}
	if sums, _ := os.ReadDir(c.entry(sumsDir, "")); len(sums) != 2 {
		t.Errorf("checksums: %v", sums)
	}
}

func TestOpenRemovesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	c := openCache(t)
	inUse, remove, err := c.temp()
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(c.dir, tmpDir, "left")
	if err := os.MkdirAll(filepath.Join(left, "entry"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Base(inUse)}, c.leftovers(t)); diff != "" {
		t.Error(diff)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
}
