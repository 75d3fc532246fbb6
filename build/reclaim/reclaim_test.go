package reclaim_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(m.Run, store.HandleReexec))
}

func open(t *testing.T) *depot.Depot {
	t.Helper()
	root := t.TempDir()
	s, err := depot.Open(t.Context(), store.Options{Root: root, Driver: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(root, "overlay"), unix.MNT_DETACH)
	})
	return s
}

// layer commits a layer of one file of a size in bytes.
func layer(t *testing.T, s *depot.Depot, parent string, size int) store.Layer {
	t.Helper()
	chain, err := s.Store.Chain(parent)
	if err != nil {
		t.Fatal(err)
	}
	var below snapshot.Layers
	for _, l := range chain {
		below = append(below, l.ID)
	}
	room := snapshot.New(s.Store)
	snap, err := room.Prepare(t.Context(), below)
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close() //nolint:errcheck // its directories are only read
	dir, _ := snap.Files()
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", size)), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := snap.Read(t.Context(), snapshot.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	l, err := snap.Commit(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// record has the cache name a layer as the result of a step.
func record(t *testing.T, s *depot.Depot, step string, l store.Layer) cache.Key {
	t.Helper()
	c, err := cache.Open(s.Store.Paths().Cache())
	if err != nil {
		t.Fatal(err)
	}
	key := cache.NewKey("run").Add("step", step).Key()
	if err := c.Put(key, cache.Record{Layer: &cache.Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size},
		Created: time.Unix(1000, 0), Step: step}); err != nil {
		t.Fatal(err)
	}
	return key
}

func measure(t *testing.T, s *depot.Depot) reclaim.Usage {
	t.Helper()
	u, err := reclaim.Measure(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ofKind(u reclaim.Usage, kind disk.Kind) reclaim.KindUsage {
	for _, k := range u.Kinds {
		if k.Kind == kind {
			return k
		}
	}
	return reclaim.KindUsage{}
}

func TestUsageCountsLayersAndWhatTheRecordsSayOfThem(t *testing.T) {
	s := open(t)
	below := layer(t, s, "", 100_000)
	above := layer(t, s, below.ID, 200_000)
	record(t, s, "RUN below", below)
	record(t, s, "RUN above", above)
	if err := os.WriteFile(s.Store.Paths().Stats(), []byte("digests"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := measure(t, s)
	layers := ofKind(u, disk.Layers)
	if layers.Count != 2 || layers.Bytes < 300_000 || layers.Reclaimable != layers.Bytes {
		t.Errorf("layers: %+v", layers)
	}
	if records := ofKind(u, disk.Records); records.Count < 3 || records.Reclaimable != records.Bytes {
		t.Errorf("records: %+v", records)
	}
	var about []string
	for _, i := range u.Items {
		if i.Kind == disk.Layers {
			about = append(about, i.About)
		}
	}
	if want := []string{"RUN above", "RUN below"}; strings.Join(about, ",") != strings.Join(want, ",") {
		t.Errorf("layers, largest first, are of %q, want %q", about, want)
	}
}

func TestNothingIsThereInNoItems(t *testing.T) {
	t.Parallel()
	u := reclaim.Summarize(nil)
	if len(u.Kinds) != len(disk.Kinds()) || len(u.Items) != 0 {
		t.Errorf("%+v", u)
	}
}

func TestPruneRemovesWhatNobodyUsesAndAsksFirst(t *testing.T) {
	s := open(t)
	l := layer(t, s, "", 100_000)
	record(t, s, "RUN it", l)
	var asked []disk.Item
	gone, err := reclaim.Prune(t.Context(), s, disk.Policy{Shared: true}, func(items []disk.Item) (bool, error) {
		asked = items
		return false, nil
	})
	if err != nil || len(gone) != 0 || len(asked) == 0 || !s.Store.HasLayer(l.ID) {
		t.Fatalf("without a yes: %v is gone, asked about %v, %v", gone, asked, err)
	}
	no := errors.New("no answer")
	if _, err := reclaim.Prune(t.Context(), s, disk.Policy{Shared: true}, func([]disk.Item) (bool, error) {
		return true,
			no
	}); !errors.Is(err, no) {
		t.Errorf("got %v, want the error of who was asked", err)
	}
	if gone, err = reclaim.Prune(t.Context(), s, disk.Policy{Shared: true}, nil); err != nil || len(gone) < len(asked) {
		t.Errorf("%v is gone, want %v: %v", gone, asked, err)
	}
	if s.Store.HasLayer(l.ID) || ofKind(measure(t, s), disk.Layers).Count != 0 {
		t.Error("the layer is still there")
	}
}

func TestWhatARunningBuildUsesStays(t *testing.T) {
	s := open(t)
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := layer(t, s, "", 100_000)
	if _, ok := s.Store.UseLayer(t.Context(), l.ID, ""); !ok {
		t.Fatal("the layer isn't there")
	}
	if _, err := reclaim.Prune(t.Context(), s, disk.Policy{Shared: true}, nil); err != nil {
		t.Fatal(err)
	}
	if !s.Store.HasLayer(l.ID) {
		t.Error("the layer of a running build was removed")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOfLayersThatAreGoneAreOfNoUse(t *testing.T) {
	s := open(t)
	l := layer(t, s, "", 1000)
	record(t, s, "RUN it", l)
	if err := s.Store.RemoveLayer(l.ID); err != nil {
		t.Fatal(err)
	}
	for _, i := range measure(t, s).Items {
		if i.Kind == disk.Records && !i.Useless {
			t.Errorf("%+v is said to be of use", i)
		}
	}
}

// notes collects what is said.
type notes struct {
	mu    sync.Mutex
	texts []string
}

func (n *notes) Emit(e progress.Event) {
	if note, ok := e.(progress.Note); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.texts = append(n.texts, note.Text)
	}
}

// limit is one of some bytes.
func limit(bytes int64) reclaim.Limit { return reclaim.Limit{Bytes: bytes, By: "--max-used-space"} }

func TestALimitHoldsWhenTheBuildEnds(t *testing.T) {
	s := open(t)
	old := layer(t, s, "", 3<<20)
	record(t, s, "RUN old", old)
	said := &notes{}
	space, err := reclaim.Watch(t.Context(), s, limit(1<<20), reclaim.Share{}, said)
	if err != nil {
		t.Fatal(err)
	}
	space.Check()
	space.Settle(t.Context())
	if s.Store.HasLayer(old.ID) {
		t.Error("3 MiB are there, with a limit of 1 MiB")
	}
	if len(said.texts) > 0 {
		t.Errorf("said %q", said.texts)
	}
}

func TestALimitThatCannotHoldIsSaid(t *testing.T) {
	s := open(t)
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := layer(t, s, "", 3<<20)
	s.Store.UseLayer(t.Context(), l.ID, "")
	said := &notes{}
	space, err := reclaim.Watch(t.Context(), s, limit(1<<20), reclaim.Share{}, said)
	if err != nil {
		t.Fatal(err)
	}
	space.Check()
	space.Settle(t.Context())
	if !s.Store.HasLayer(l.ID) {
		t.Error("what the build uses was removed")
	}
	if len(said.texts) != 1 ||
		!strings.Contains(said.texts[0], "more than the 1MiB of --max-used-space: running builds use it") &&
			!strings.Contains(said.texts[0], "of --max-used-space: running builds use it") {
		t.Errorf("said %q", said.texts)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func TestWhoInterruptsABuildDoesNotWaitForTheLimit(t *testing.T) {
	s := open(t)
	old := layer(t, s, "", 3<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	space, err := reclaim.Watch(ctx, s, limit(1<<20), reclaim.Share{}, &notes{})
	if err != nil {
		t.Fatal(err)
	}
	space.Settle(ctx)
	if !s.Store.HasLayer(old.ID) {
		t.Error("something was removed after the interrupt")
	}
}

func TestNoLimitIsNobodyWatching(t *testing.T) {
	s := open(t)
	space, err := reclaim.Watch(t.Context(), s, limit(0), reclaim.Share{}, &notes{})
	if err != nil || space != nil {
		t.Fatalf("%v, %v", space, err)
	}
	space.Check()
	space.Settle(t.Context())
}

func TestAUseOfTheDigestsOfContextFilesIsNoted(t *testing.T) {
	s := open(t)
	reclaim.NoteStats(s.Store) // there are none: nothing happens
	if err := os.WriteFile(s.Store.Paths().Stats(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1000, 0)
	if err := os.Chtimes(s.Store.Paths().Stats(), old, old); err != nil {
		t.Fatal(err)
	}
	reclaim.NoteStats(s.Store)
	info, err := os.Stat(s.Store.Paths().Stats())
	if err != nil || !info.ModTime().After(old) {
		t.Errorf("%v, %v", info, err)
	}
}
