package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
)

// oldFile is a file that changed long ago.
func oldFile(n int) *unix.Stat_t {
	return &unix.Stat_t{Ino: uint64(n), Mtim: unix.Timespec{Sec: 1}, Ctim: unix.Timespec{Sec: 1}}
}

// known says which of the files 0 to n the cache in a file has.
func known(t *testing.T, path string, n int) (got []int) {
	t.Helper()
	c := OpenStatCache(path)
	for i := range n {
		switch sum, ok := c.lookup(oldFile(i)); {
		case ok && sum.sum != hashSum{byte(i)}:
			t.Errorf("file %d has the digest %x", i, sum)
		case ok:
			got = append(got, i)
		}
	}
	return got
}

// TestWhatOthersHaveSavedStays has two open at once, as two builds have, which read nothing of each other.
func TestWhatOthersHaveSavedStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "stat")
	save := func(c *StatCache, files ...int) {
		t.Helper()
		for _, n := range files {
			c.insert(oldFile(n), fileSum{sum: hashSum{byte(n)}}, time.Now())
		}
		check(t, c.Save(t.Context()))
	}
	one, two := OpenStatCache(path), OpenStatCache(path)
	if one.replaced() { // there is none yet
		t.Error("a file that isn't there was replaced")
	}
	one.lookup(oldFile(9)) // it is read now
	two.lookup(oldFile(9))
	save(one, 0, 1)
	save(two, 1, 2)
	if got := known(t, path, 4); fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("the file has %v", got)
	}
	save(one, 3) // what it read is older than the file by two saves
	if got := known(t, path, 4); fmt.Sprint(got) != "[0 1 2 3]" {
		t.Errorf("the file has %v", got)
	}

	three := OpenStatCache(path)
	three.lookup(oldFile(0))
	check(t, os.Remove(path)) // as prune does
	save(three, 5)
	if got := known(t, path, 6); fmt.Sprint(got) != "[0 5]" {
		t.Errorf("of a file that was removed there is %v: what was used, and what is new", got)
	}
}

// TestUsesCountWhicheverFileTheyAreFoundIn has a record kept that only a build which began long ago has used.
func TestUsesCountWhicheverFileTheyAreFoundIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	first := OpenStatCache(path)
	first.insert(oldFile(0), fileSum{sum: hashSum{0}}, time.Now())
	first.insert(oldFile(1), fileSum{sum: hashSum{1}}, time.Now())
	check(t, first.Save(t.Context()))
	long := OpenStatCache(path)
	if _, ok := long.lookup(oldFile(0)); !ok {
		t.Fatal("the record isn't there")
	}
	for n := range maxUnused {
		c := OpenStatCache(path)
		c.insert(oldFile(2+n), fileSum{sum: hashSum{byte(2 + n)}}, time.Now())
		check(t, c.Save(t.Context()))
	}
	long.insert(oldFile(200), fileSum{sum: hashSum{200}}, time.Now())
	check(t, long.Save(t.Context()))
	c := OpenStatCache(path)
	if _, ok := c.lookup(oldFile(0)); !ok {
		t.Error("what a build has used is lost")
	}
	if _, ok := c.lookup(oldFile(1)); ok {
		t.Error("what nobody has used is there")
	}
}

// TestManySaveAtOnce loses nothing of any.
func TestManySaveAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	const many = 16
	var group sync.WaitGroup
	for n := range many {
		group.Go(func() {
			c := OpenStatCache(path)
			c.insert(oldFile(n), fileSum{sum: hashSum{byte(n)}}, time.Now())
			if err := c.Save(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := known(t, path, many); len(got) != many {
		t.Errorf("of %d there are %v", many, got)
	}
}

// TestASaveThatHasToWaitEndsWithItsContext leaves the file as it was.
func TestASaveThatHasToWaitEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	other, err := flock.File(t.Context(), path+".lock", flock.Exclusive)
	check(t, err)
	defer other.Close()
	c := OpenStatCache(path)
	c.insert(oldFile(0), fileSum{sum: hashSum{}}, time.Now())
	why := errors.New("the build has waited long enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := c.Save(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}

// TestOnlyPagesThatAreAskedForAreRead: a cache has the records of all contexts, and a build wants its own.
func TestOnlyPagesThatAreAskedForAreRead(t *testing.T) {
	t.Parallel()
	const files = 20*pageRecords + 7
	path := filepath.Join(t.TempDir(), "stat")
	full := OpenStatCache(path)
	for n := range files {
		full.insert(oldFile(2*n), fileSum{sum: hashSum{byte(n), byte(n >> 8)}}, time.Now())
	}
	check(t, full.Save(t.Context()))

	c := OpenStatCache(path)
	if _, ok := c.lookup(oldFile(0)); !ok {
		t.Error("the first file is unknown")
	}
	read := 0
	for n := range c.known.pages {
		if c.known.pages[n].Load() != nil {
			read++
		}
	}
	if read == 0 || read > 6 { // those on the way to one of 21
		t.Errorf("%d pages of %d were read", read, len(c.known.pages))
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for n := range files {
				if sum, ok := c.lookup(oldFile(2 * n)); !ok || sum.sum != (hashSum{byte(n), byte(n >> 8)}) {
					t.Errorf("file %d has %x, %v", n, sum, ok)
				}
				if _, ok := c.lookup(oldFile(2*n + 1)); ok {
					t.Errorf("a file after %d is known", n)
				}
			}
		})
	}
	group.Wait()

	text, err := os.ReadFile(path)
	check(t, err)
	text[cacheHeader+pageSize*15]++ // of a page that the first ones don't need
	check(t, os.WriteFile(path, text, 0o600))
	damaged := OpenStatCache(path)
	if _, ok := damaged.lookup(oldFile(2 * 15 * pageRecords)); ok {
		t.Error("a record of a damaged page is known")
	}
	if _, ok := damaged.lookup(oldFile(0)); ok {
		t.Error("a record is known after a page was found damaged")
	}
	damaged.insert(oldFile(1), fileSum{sum: hashSum{1}}, time.Now())
	check(t, damaged.Save(t.Context()))
	if got := known(t, path, 3); fmt.Sprint(got) != "[1]" {
		t.Errorf("after a damaged file there are %v", got)
	}
}
