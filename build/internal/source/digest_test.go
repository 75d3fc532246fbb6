package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func digestOf(t testing.TB, root string, patterns ...string) string {
	t.Helper()
	d, err := Digest(context.Background(), DigestOptions{Root: openRoot(t, root), Query: Query{Patterns: patterns}})
	check(t, err)
	return d.String()
}

func TestDigestCountsWhatIsCopied(t *testing.T) {
	makeTree := func(t *testing.T) string {
		root := tree(t, "d/a=A", "d/s/b=B", "d/l->a", "d/e/", "other")
		check(t, unix.Setxattr(root+"/d/a", "user.note", []byte("1"), 0))
		check(t, unix.Mkfifo(root+"/d/p", 0o600))
		return root
	}
	base := digestOf(t, makeTree(t), "d")
	for name, c := range map[string]struct {
		change func(root string) error
		same   bool
	}{
		"nothing":       {func(string) error { return nil }, true},
		"times":         {func(r string) error { return os.Chtimes(r+"/d/a", time.Unix(1, 0), time.Unix(2, 0)) }, true},
		"another file":  {func(r string) error { return os.WriteFile(r+"/other", nil, 0o600) }, true},
		"the mode of d": {func(r string) error { return os.Chmod(r+"/d", 0o700) }, true},
		"a socket":      {func(r string) error { return unix.Mknod(r+"/d/socket", unix.S_IFSOCK|0o600, 0) }, false},
		"hard link": {func(r string) error {
			return errors.Join(os.Remove(r+"/d/s/b"), os.WriteFile(r+"/d/s/b", []byte("B"), 0o644))
		}, true},
		"content":          {func(r string) error { return os.WriteFile(r+"/d/a", []byte("X"), 0o644) }, false},
		"mode":             {func(r string) error { return os.Chmod(r+"/d/a", 0o600) }, false},
		"setuid":           {func(r string) error { return unix.Chmod(r+"/d/a", 0o4644) }, false},
		"mode of a subdir": {func(r string) error { return os.Chmod(r+"/d/s", 0o700) }, false},
		"a name":           {func(r string) error { return os.Rename(r+"/d/a", r+"/d/aa") }, false},
		"a place":          {func(r string) error { return os.Rename(r+"/d/s/b", r+"/d/b") }, false},
		"an empty dir":     {func(r string) error { return os.Remove(r + "/d/e") }, false},
		"a new file":       {func(r string) error { return os.WriteFile(r+"/d/n", nil, 0o644) }, false},
		"a target": {func(r string) error { return errors.Join(os.Remove(r+"/d/l"), os.Symlink("b", r+"/d/l")) },
			false},
		"a type": {func(r string) error {
			return errors.Join(os.Remove(r+"/d/l"), os.WriteFile(r+"/d/l", []byte("a"), 0o777))
		}, false},
		"an attribute":      {func(r string) error { return unix.Setxattr(r+"/d/a", "user.note", []byte("2"), 0) }, false},
		"a dir's attribute": {func(r string) error { return unix.Setxattr(r+"/d/s", "user.note", []byte("2"), 0) }, false},
		"a FIFO's mode":     {func(r string) error { return os.Chmod(r+"/d/p", 0o644) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := makeTree(t)
			check(t, c.change(root))
			if got := digestOf(t, root, "d"); (got == base) != c.same {
				t.Errorf("got %s, before it was %s", got, base)
			}
		})
	}
}

func TestDigestOfSources(t *testing.T) {
	root := tree(t, "d/a=A", "e/a=A", "f=A", "g=A", "h=A", "d2/a=B", "l->d")
	same := func(a, b []string, want bool) {
		t.Helper()
		if got := digestOf(t, root, a...) == digestOf(t, root, b...); got != want {
			t.Errorf("%q and %q: same is %v", a, b, got)
		}
	}
	same([]string{"d"}, []string{"e"}, true)
	same([]string{"d"}, []string{"l"}, true)
	same([]string{"d/"}, []string{"./d/."}, true)
	same([]string{"f"}, []string{"g"}, false)
	same([]string{"f", "g"}, []string{"g", "f"}, false)
	same([]string{"d", "d2"}, []string{"d2", "d"}, false)
	same([]string{"[fg]"}, []string{"f", "g"}, true)
	same(nil, nil, true)
	same(nil, []string{"f"}, false)
}

func TestDigestWithAFilterEqualsThatOfWhatIsVisible(t *testing.T) {
	full := tree(t, "a", "b.log", "d/x", "d/y.log", "v/keep/k", "v/drop/k", "w/none")
	visible := tree(t, "a", "d/x", "v/keep/k")
	check(t, os.Mkdir(visible+"/empty", 0o755))
	check(t, os.Remove(visible+"/empty"))
	d, err := Digest(t.Context(), DigestOptions{
		Root: openRoot(t, full), Query: Query{Patterns: []string{"."}, Filter: ignore(t, "**/*.log", "v", "!v/keep/k", "w",
			"!w/x")},
	})
	check(t, err)
	if want := digestOf(t, visible, "."); d.String() != want {
		t.Errorf("got %s, want %s", d, want)
	}
}

func TestDigestWithOwner(t *testing.T) {
	root := tree(t, "d/a=A", "d/l->a")
	of := func(owner bool) string {
		d, err := Digest(t.Context(), DigestOptions{Root: openRoot(t, root), Query: Query{Patterns: []string{"d"}},
			WithOwner: owner})
		check(t, err)
		return d.String()
	}
	without, with := of(false), of(true)
	for _, name := range []string{"d/a", "d/l"} {
		check(t, os.Lchown(filepath.Join(root, name), 3, 4))
		if of(false) != without {
			t.Errorf("%s: the owner counts", name)
		}
		now := of(true)
		if now == with {
			t.Errorf("%s: the owner doesn't count", name)
		}
		with = now
	}
}

// age makes files look as if they had not changed for a while: the clock that counts can't be set, so the test waits
// for it.
func age(t *testing.T) {
	t.Helper()
	time.Sleep(racyTime + 100*time.Millisecond)
}

func TestStatCache(t *testing.T) {
	root := tree(t, "a=A", "d/b=B", "l->a")
	path := filepath.Join(t.TempDir(), "new", "cache")
	digest := func(c *StatCache) string {
		d, err := Digest(t.Context(), DigestOptions{Root: openRoot(t, root), Query: Query{Patterns: []string{"."}}, Cache: c})
		check(t, err)
		return d.String()
	}
	young := OpenStatCache(path)
	want := digest(young)
	if len(young.fresh) != 0 {
		t.Error("files that changed just now were remembered")
	}
	check(t, young.Save(t.Context()))
	if _, err := os.Stat(path); err == nil {
		t.Error("an empty cache was saved")
	}
	age(t)
	first := OpenStatCache(path)
	if got := digest(first); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	check(t, first.Save(t.Context()))
	// Nothing can be read any more: what is known comes from the cache.
	second := OpenStatCache(path)
	var st unix.Stat_t
	check(t, unix.Lstat(root+"/a", &st))
	if _, ok := second.lookup(&st); !ok {
		t.Error("the file isn't in the cache")
	}
	if got := digest(second); got != want || len(second.fresh) != 0 {
		t.Errorf("got %s and %d new entries", got, len(second.fresh))
	}
	check(t, os.WriteFile(root+"/a", []byte("C"), 0o644))
	check(t, os.Chtimes(root+"/a", time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix())))
	if got := digest(OpenStatCache(path)); got == want {
		t.Error("a file with a new change time was taken from the cache")
	}
	damageEachPart(t, path, &st)
}

// damageEachPart changes single bytes of the file, and cuts it; it must be as good as empty then.
func damageEachPart(t *testing.T, path string, st *unix.Stat_t) {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	for at := 0; at < len(text); at += 7 {
		for _, bad := range [][]byte{append(append(append([]byte(nil), text[:at]...), text[at]^1), text[at+1:]...),
			text[:at]} {
			check(t, os.WriteFile(path, bad, 0o600))
			c := OpenStatCache(path)
			if _, ok := c.lookup(st); ok {
				t.Fatalf("a file damaged at %d was read", at)
			}
			if records, _ := c.known.all(); len(records) != 0 {
				t.Fatalf("a file damaged at %d has %d records", at, len(records))
			}
		}
	}
}

func TestStatCacheDropsWhatIsntUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	st := func(n int) *unix.Stat_t {
		return &unix.Stat_t{Ino: uint64(n), Mtim: unix.Timespec{Sec: 1}, Ctim: unix.Timespec{Sec: 1}}
	}
	for n := range 2*maxUnused + 1 {
		c := OpenStatCache(path)
		if n > 0 {
			if _, ok := c.lookup(st(0)); !ok {
				t.Fatalf("after %d saves the entry in use is lost", n)
			}
		}
		c.insert(st(n), fileSum{sum: hashSum{byte(n)}}, time.Now())
		check(t, c.Save(t.Context()))
	}
	c := OpenStatCache(path)
	if sum, ok := c.lookup(st(0)); !ok || sum.sum != (hashSum{}) {
		t.Error("the entry in use is lost")
	}
	if _, ok := c.lookup(st(5)); ok {
		t.Error("an entry that wasn't used for long is still there")
	}
	if _, ok := c.lookup(st(2 * maxUnused)); !ok {
		t.Error("the newest entry is lost")
	}
	if records, _ := c.known.all(); len(records) != maxUnused+2 {
		t.Errorf("%d records", len(records))
	}
}

func TestDigestStops(t *testing.T) {
	root := tree(t)
	for n := range 2000 {
		plant(t, root, fmt.Sprintf("d%d/f", n))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("cancelled by the test")
	cancel(want)
	dir := openRoot(t, root)
	fds := openFDs(t)
	if _, err := Digest(ctx, DigestOptions{Root: dir, Query: Query{Patterns: []string{"."}}}); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if now := openFDs(t); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

func BenchmarkDigest(b *testing.B) {
	root := b.TempDir()
	data := make([]byte, 4096)
	for n := range 10_000 {
		dir := filepath.Join(root, fmt.Sprintf("d%03d", n/100))
		if n%100 == 0 {
			check(b, os.Mkdir(dir, 0o755))
		}
		data[0], data[1] = byte(n), byte(n>>8)
		check(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%05d", n)), data, 0o644))
	}
	time.Sleep(racyTime)
	dir := openRoot(b, root)
	path := filepath.Join(b.TempDir(), "cache")
	filter := ignore(b, "**/*.log", "node_modules", "*.md", "!README.md", ".git")
	run := func(b *testing.B, c *StatCache, f Filter) {
		b.Helper()
		_, err := Digest(b.Context(), DigestOptions{Root: dir, Query: Query{Patterns: []string{"."}, Filter: f}, Cache: c})
		check(b, err)
		check(b, c.Save(b.Context()))
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			run(b, nil, nil)
		}
	})
	run(b, OpenStatCache(path), nil)
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			run(b, OpenStatCache(path), nil)
		}
	})
	b.Run("warm with an ignore file", func(b *testing.B) {
		for b.Loop() {
			run(b, OpenStatCache(path), filter)
		}
	})
	b.Run("one file of 1 GiB", func(b *testing.B) {
		big := b.TempDir()
		check(b, os.WriteFile(big+"/big", make([]byte, 1<<30), 0o644))
		dir := openRoot(b, big)
		for b.Loop() {
			_, err := Digest(b.Context(), DigestOptions{Root: dir, Query: Query{Patterns: []string{"big"}}})
			check(b, err)
		}
	})
}
