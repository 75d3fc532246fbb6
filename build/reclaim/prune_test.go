package reclaim_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fetch"
	"github.com/cooperbuild/cooper/build/internal/fetch/web"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/reclaim"
)

// source fetches a file of a size in bytes, which the store then keeps.
func source(t *testing.T, s *depot.Depot, name string, size int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, size))
	}))
	defer server.Close()
	c, err := fetch.Open(s.Store.Paths().Remote())
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.HTTP(t.Context(), web.Request{URL: server.URL + "/" + name, Name: name})
	if err == nil {
		err = file.Release()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mount has the store keep the directory of a cache mount, with a file of a size in bytes.
func mount(t *testing.T, s *depot.Depot, key string, size int) string {
	t.Helper()
	dir, lock, err := s.Store.Parts().Uses.OpenMount(t.Context(), key, "0", "label of "+key)
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "f"), make([]byte, size), 0o600), lock.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func prune(t *testing.T, s *depot.Depot, p disk.Policy) []disk.Item {
	t.Helper()
	gone, err := reclaim.Prune(t.Context(), s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return gone
}

func kinds(items []disk.Item) (names []string) {
	for _, i := range items {
		names = append(names, string(i.Kind))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestEachKindIsCountedAndCanGoAlone(t *testing.T) {
	t.Parallel()
	s := open(t)
	record(t, s, "RUN it", layer(t, s, "", 10_000))
	source(t, s, "f", 20_000)
	mount(t, s, "key", 30_000)
	if err := os.WriteFile(s.Store.Paths().Stats(), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	u := measure(t, s)
	for kind, least := range map[disk.Kind]int64{disk.Layers: 10_000, disk.Sources: 20_000, disk.Mounts: 30_000,
		disk.Records: 8192} {
		k := ofKind(u, kind)
		if k.Count == 0 || k.Bytes < least || k.Reclaimable != k.Bytes || time.Since(k.LastUse) > time.Hour {
			t.Errorf("%s: %+v", kind, k)
		}
	}
	for n, i := range u.Items[1:] {
		before := u.Items[n]
		if order := slices.Index(disk.Kinds(), before.Kind) - slices.Index(disk.Kinds(), i.Kind); order > 0 ||
			order == 0 && before.Size.Bytes < i.Size.Bytes {
			t.Errorf("%s of %d bytes comes before %s of %d", before.Kind, before.Size.Bytes, i.Kind, i.Size.Bytes)
		}
	}
	for _, kind := range []disk.Kind{disk.Sources, disk.Mounts} {
		gone := prune(t, s, disk.Policy{Kinds: []disk.Kind{kind}, Shared: true})
		if got := kinds(gone); len(got) != 1 || got[0] != string(kind) {
			t.Errorf("of %s goes %q", kind, got)
		}
		if left := ofKind(measure(t, s), kind); left.Count != 0 {
			t.Errorf("of %s stays %+v", kind, left)
		}
	}
	if left := ofKind(measure(t, s), disk.Layers); left.Count != 1 {
		t.Errorf("of the layers stays %+v", left)
	}
	prune(t, s, disk.Policy{Shared: true})
	if _, err := os.Lstat(s.Store.Paths().Stats()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the digests of context files: %v", err)
	}
	if gone := prune(t, s, disk.Policy{Shared: true}); len(gone) != 0 {
		t.Errorf("the second time goes %v", gone)
	}
}

func TestARecordGoesWithItsLayer(t *testing.T) {
	t.Parallel()
	s := open(t)
	below := layer(t, s, "", 10_000)
	above := layer(t, s, below.ID, 20_000)
	keys := []cache.Key{record(t, s, "RUN below", below), record(t, s, "RUN above", above)}
	gone := prune(t, s, disk.Policy{Kinds: []disk.Kind{disk.Layers}, Shared: true})
	layers := slices.DeleteFunc(slices.Clone(gone), func(i disk.Item) bool { return i.Kind != disk.Layers })
	if len(layers) != 2 || layers[0].ID != above.ID || layers[1].ID != below.ID {
		t.Errorf("it goes %+v", layers)
	}
	c, err := cache.Open(s.Store.Paths().Cache())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if c.Get(k) != nil {
			t.Errorf("the record %s is still there", k)
		}
	}
}

func TestWhatWasUsedLatelyStaysIfAsked(t *testing.T) {
	t.Parallel()
	s := open(t)
	old := mount(t, s, "old", 1000)
	notes, err := filepath.Glob(filepath.Join(filepath.Dir(s.Store.Paths().Stats()), "uses", "*", "*"))
	if err != nil || len(notes) == 0 {
		t.Fatalf("there is no note of a use: %q, %v", notes, err)
	}
	ago := time.Now().Add(-48 * time.Hour)
	for _, note := range notes {
		if err := os.Chtimes(note, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	young := mount(t, s, "young", 1000)
	prune(t, s, disk.Policy{Kinds: []disk.Kind{disk.Mounts}, Unused: time.Now().Add(-24 * time.Hour)})
	if _, err := os.Lstat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Lstat(young); err != nil {
		t.Errorf("the young one: %v", err)
	}
}

func TestACacheMountThatAStepUsesStays(t *testing.T) {
	t.Parallel()
	s := open(t)
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := mount(t, s, "key", 1000)
	source(t, s, "f", 1000)
	if gone := prune(t, s, disk.Policy{Shared: true}); len(gone) != 0 {
		t.Errorf("while a build runs goes %+v", gone)
	}
	for _, i := range measure(t, s).Items {
		if !i.InUse {
			t.Errorf("%s %s counts as free", i.Kind, i.Name())
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	prune(t, s, disk.Policy{Shared: true})
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the build it stays: %v", err)
	}
}

func TestPruneAndMeasureEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s := open(t)
	record(t, s, "RUN it", layer(t, s, "", 1000))
	source(t, s, "f", 1000)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	sure := func([]disk.Item) (bool, error) { cancel(why); return true, nil }
	gone, err := reclaim.Prune(ctx, s, disk.Policy{Shared: true}, sure)
	if !errors.Is(err, why) && !errors.Is(err, context.Canceled) || len(gone) != 0 {
		t.Errorf("it goes %v, %v", gone, err)
	}
	if _, err := reclaim.Measure(ctx, s); !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("to measure gives %v", err)
	}
	if u := measure(t, s); ofKind(u, disk.Layers).Count != 1 || ofKind(u, disk.Sources).Count != 1 {
		t.Errorf("there are %+v", u.Kinds)
	}
}

func TestTwoWhoPruneAtOnceRemoveEachThingOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	parent := ""
	for n := range 6 {
		l := layer(t, s, parent, 1000+n)
		record(t, s, l.ID, l)
		parent = l.ID
	}
	type result struct {
		gone []disk.Item
		err  error
	}
	results := make(chan result, 2)
	for range cap(results) {
		go func() {
			gone, err := reclaim.Prune(t.Context(), s, disk.Policy{Shared: true}, nil)
			results <- result{gone, err}
		}()
	}
	times := map[string]int{}
	for range cap(results) {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		for _, i := range r.gone {
			if i.Kind == disk.Layers {
				times[i.ID]++
			}
		}
	}
	if len(times) != 6 {
		t.Errorf("%d layers are gone", len(times))
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("layer %.12s is gone %d times", id, n)
		}
	}
}

func TestALimitHoldsWhileTheBuildRuns(t *testing.T) {
	t.Parallel()
	s := open(t)
	old := layer(t, s, "", 3<<20)
	space, err := reclaim.Watch(t.Context(), s, limit(1<<20), reclaim.Share{}, &notes{})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(10 * time.Minute)
	for s.Store.HasLayer(old.ID) {
		if time.Now().After(end) {
			t.Fatal("after a minute it is there")
		}
		space.Check()
		time.Sleep(10 * time.Millisecond) // nothing tells of a removal
	}
	space.Settle(t.Context())
}

func TestALimitIsSaidThatCanNotBeLookedAt(t *testing.T) {
	t.Parallel()
	s := open(t)
	said := &notes{}
	space, err := reclaim.Watch(t.Context(), s, limit(1), reclaim.Share{}, said)
	if err != nil {
		t.Fatal(err)
	}
	space.Check()
	if err := errors.Join(os.RemoveAll(s.Store.Paths().Cache()), os.WriteFile(s.Store.Paths().Cache(), nil,
		0o600)); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(s.Store.Paths().Cache())
	space.Settle(t.Context())
	if len(said.texts) != 1 || !strings.HasPrefix(said.texts[0], "--max-used-space could not be kept to: ") {
		t.Errorf("it says %q", said.texts)
	}
}

func TestTheTotalIsByKind(t *testing.T) {
	t.Parallel()
	s := open(t)
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mount(t, s, "key", 2<<20)
	source(t, s, "f", 3<<20)
	said := &notes{}
	space, err := reclaim.Watch(t.Context(), s, limit(1<<20), reclaim.Share{}, said)
	if err != nil {
		t.Fatal(err)
	}
	space.Check()
	space.Settle(t.Context())
	if len(said.texts) != 1 || !strings.Contains(said.texts[0], "mounts 2.") ||
		!strings.Contains(said.texts[0], "sources 3.") || !strings.Contains(said.texts[0], "1.049MB") {
		t.Errorf("it says %q", said.texts)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}
