package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
)

func TestAStepsChangesAreItsLayer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		view, err := s.Start(t.Context())
		b.must(err)
		if text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/dir/c", view.Dir.Fd())); err != nil || string(text) != "c" {
			t.Errorf("the step starts from %q, %v", text, err)
		}
		b.must(view.Release())
		files, _ := s.Files()
		b.must(put(files, "put", 3, 4))
		b.run(s, snapshot.NS{}, func(root string) {
			if got := b.owner(filepath.Join(root, "put")); got != "3:4" {
				t.Errorf("what was put there is %s", got)
			}
			b.must(os.Remove(filepath.Join(root, "a")))
			b.must(put(root, "new", 1, 2))
		})
		l, res := b.commit(s, top(base))
		if l.ID != store.LayerID(top(base), res.DiffID) || l.Parent != top(base) || l.Size != res.Size {
			t.Errorf("the layer is %+v of %+v", l, res)
		}
		if diff := cmp.Diff([]string{".wh.a 0:0", "new 1:2", "put 3:4"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
		b.view(snapshot.Layers{top(base), l.ID}, snapshot.NS{}, func(dir string) {
			names := []string{}
			entries, err := os.ReadDir(dir)
			b.must(err)
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if diff := cmp.Diff([]string{"b", "dir", "new", "put"}, names); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestAllStoresGiveALayerTheSameID(t *testing.T) {
	t.Parallel()
	ids := make(chan string, len(kinds(t)))
	t.Run("", func(t *testing.T) {
		each(t, func(_ *testing.T, _ bench, base []store.Layer) { ids <- top(base) })
	})
	close(ids)
	first := ""
	for id := range ids {
		if first == "" {
			first = id
		}
		if id != first {
			t.Errorf("the layer is %s and %s", first, id)
		}
	}
}

func TestAStepWithOtherOwnersLeavesTheImagesInTheLayer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		files, _ := s.Files()
		b.must(put(files, "put", 3, 4))
		b.run(s, shifted(), func(root string) {
			for name, want := range map[string]string{"a": "1000:1000", "b": "1007:1008", "put": "1003:1004"} {
				if got := b.owner(filepath.Join(root, name)); got != want {
					t.Errorf("%s is %s to the step, not %s", name, got, want)
				}
			}
			b.must(put(root, "new", 1033, 1050))
		})
		l, _ := b.commit(s, top(base))
		if diff := cmp.Diff([]string{"new 33:50", "put 3:4"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
		b.view(snapshot.Layers{top(base), l.ID}, shifted(), func(dir string) {
			if got := b.owner(filepath.Join(dir, "new")); got != "1033:1050" {
				t.Errorf("the view for such a step shows %s", got)
			}
		})
		b.view(snapshot.Layers{top(base), l.ID}, snapshot.NS{}, func(dir string) {
			if got := b.owner(filepath.Join(dir, "b")) + " " + b.owner(filepath.Join(dir, "new")); got != "7:8 33:50" {
				t.Errorf("the view shows %s", got)
			}
		})
	})
}

func TestAStepThatIsRunAgainFindsTheImagesOwners(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		first := func(root string) { b.must(put(root, "new", 1033, 1050)) }
		if err := b.try(s, shifted(), false, first); !errors.Is(err, errAgain) {
			t.Fatal(err)
		}
		files, _ := s.Files()
		if got := b.owner(filepath.Join(files, "new")); got != "33:50" {
			t.Errorf("between the two the file is %s", got)
		}
		b.run(s, shifted(), func(root string) {
			if got := b.owner(filepath.Join(root, "new")); got != "1033:1050" {
				t.Errorf("to the second one the file is %s", got)
			}
		})
		l, _ := b.commit(s, top(base))
		if diff := cmp.Diff([]string{"new 33:50"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAStepWithoutAChangeMakesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		b.run(s, snapshot.NS{}, func(string) {})
		res, err := s.Read(t.Context(), snapshot.ReadOptions{})
		if err != nil || !res.Empty {
			t.Fatalf("%+v, %v", res, err)
		}
		b.must(b.room.Reuse(s))
		next := b.prepare(on(base))
		b.run(next, snapshot.NS{}, func(root string) { b.must(put(root, "new", 0, 0)) })
		l, _ := b.commit(next, top(base))
		if diff := cmp.Diff([]string{"new 0:0"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheSameLayerIsTakenAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, _ []store.Layer) {
		fill := func(root string) { b.must(put(root, "f", 0, 0)) }
		if first, again := b.add(nil, fill), b.add(nil, fill); top(first) != top(again) {
			t.Errorf("%s is made again as %s", top(first), top(again))
		}
	})
}

func TestARemovedSnapshotLeavesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		for _, ns := range []snapshot.NS{{}, shifted()} {
			s := b.prepare(on(base))
			b.run(s, ns, func(root string) { b.must(put(root, "left", 1000, 1000)) })
			_, err := s.Read(t.Context(), snapshot.ReadOptions{})
			b.must(err, s.Remove(), s.Remove())
		}
		b.must(b.room.Close())
		err := filepath.WalkDir(b.st.Paths().Root, func(path string, _ os.DirEntry, _ error) error {
			if dir := filepath.Base(filepath.Dir(path)); filepath.Base(path) == "left" || dir == "tmp" {
				t.Errorf("%s is still there", path)
			}
			return nil
		})
		b.must(err)
	})
}

func TestALinkedLayerCanBePutOnOthers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s, err := b.room.PrepareAlone(t.Context(), on(base))
		b.must(err)
		files, _ := s.Files()
		b.must(put(files, "linked", 5, 6))
		l, res := b.commit(s, top(base))
		b.must(s.Remove())
		upper := b.add(base, func(root string) { b.must(put(root, "other", 0, 0)) })
		moved, err := b.room.Chains().PutOn(t.Context(), top(upper), l, snapshot.ReadOptions{})
		b.must(err)
		if moved.DiffID != res.DiffID || moved.ID != store.LayerID(top(upper), res.DiffID) || moved.Parent != top(upper) {
			t.Errorf("%+v became %+v", l, moved)
		}
		if diff := cmp.Diff([]string{"linked 5:6"}, b.entries(moved)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMergedLayersShowTheSameFiles(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		all := b.add(base, func(root string) { b.must(os.Remove(filepath.Join(root, "a"))) })
		all = b.add(all, func(root string) { b.must(put(root, "new", 1, 2)) })
		ids := []string{all[1].ID, all[2].ID}
		merged, res, err := b.room.Chains().Merge(t.Context(), top(base), ids, snapshot.ReadOptions{})
		if errors.Is(err, snapshot.ErrNoMerge) {
			if b.room.Way() == snapshot.ByRename {
				t.Error("layers can't be merged where they could be linked")
			}
			return
		}
		b.must(err)
		merged.DiffID = res.DiffID
		if diff := cmp.Diff([]string{"./ 0:0", ".wh.a 0:0", "new 1:2"}, b.entries(merged)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSquashedLayersHoldWhatIsLeft(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		all := b.add(base, func(root string) {
			b.must(os.Remove(filepath.Join(root, "a")), put(root, "brief", 1, 2))
		})
		all = b.add(all, func(root string) {
			b.must(os.Remove(filepath.Join(root, "brief")), put(root, "new", 1, 2))
		})
		ids := []string{all[0].ID, all[1].ID, all[2].ID}
		squashed, res, err := b.room.Chains().Squash(t.Context(), ids[:1], ids[1:], snapshot.ReadOptions{})
		b.must(err)
		squashed.DiffID = res.DiffID
		if diff := cmp.Diff([]string{".wh.a 0:0", "new 1:2"}, b.entries(squashed)); diff != "" ||
			squashed.Parent != ids[0] {
			t.Errorf("on %s:\n%s", squashed.Parent, diff)
		}

		whole, res, err := b.room.Chains().Squash(t.Context(), nil, ids, snapshot.ReadOptions{})
		b.must(err)
		whole.DiffID = res.DiffID
		if entries := b.entries(whole); slices.ContainsFunc(entries, func(e string) bool {
			return strings.Contains(e, ".wh.") || strings.HasPrefix(e, "a ") || strings.HasPrefix(e, "brief ")
		}) || !slices.Contains(entries, "new 1:2") || whole.Parent != "" {
			t.Errorf("all in one on %q: %q", whole.Parent, entries)
		}
	})
}

func TestLayersOfOtherIDsAreRechained(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		var odd []store.Layer
		for _, id := range []string{"aa", "bb"} {
			archive := bytes.NewReader(b.archive(base[0])) // who reads a layer keeps others from being made
			id = digest.FromString(id).Encoded()
			put, err := library.Of(b.st.Parts().Library).PutLayer(id, top(odd), nil, "", false,
				&storage.LayerOptions{IDMappingOptions: store.HostIDs()}, archive)
			b.must(err)
			odd = append(odd, store.Layer{ID: put.ID, Parent: put.Parent, DiffID: put.UncompressedDigest})
		}
		chain, err := b.room.Chains().Rechain(t.Context(), odd)
		b.must(err)
		if !store.Chained(chain) || len(chain) != 2 {
			t.Fatalf("%+v", chain)
		}
		for i, l := range chain {
			if l.DiffID != odd[i].DiffID {
				t.Errorf("layer %d has become %s", i, l.DiffID)
			}
			if diff := cmp.Diff(b.entries(odd[i]), b.entries(l)); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestAStepOnALayerThatIsGoneIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, _ []store.Layer) {
		layers := b.add(nil, func(root string) { b.must(put(root, "f", 0, 0)) })
		b.view(on(layers), snapshot.NS{}, func(string) {})
		b.must(b.room.CheckStill(top(layers)), b.room.CheckStill(""), b.st.RemoveLayer(top(layers)))
		gone := new(snapshot.GoneError)
		for _, below := range []string{top(layers), ""} {
			if err := b.room.CheckStill(below); !errors.As(err, &gone) {
				t.Errorf("on %q: %v", below, err)
			}
		}
	})
}

func TestAnEmptyRootHasNoView(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, _ []store.Layer) {
		for _, ns := range []snapshot.NS{{}, shifted()} {
			b.view(snapshot.Layers(nil), ns, func(dir string) {
				if dir != "" {
					t.Error("there is a directory")
				}
			})
		}
	})
}

// pending is what lies below while the uppermost layer is being committed.
type pending struct {
	dirs   []*os.File
	layers []string
	done   chan struct{}
}

func (p *pending) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pending) Stack() (dirs []*os.File, layers []string) {
	select {
	case <-p.done:
		return nil, p.layers
	default:
		return p.dirs, p.layers[:len(p.layers)-1]
	}
}

func TestAStepCanFollowOneThatIsBeingCommitted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		b.run(s, snapshot.NS{}, func(root string) { b.must(put(root, "first", 0, 0)) })
		dir, err := s.Pending()
		b.must(err)
		res, err := s.Read(t.Context(), snapshot.ReadOptions{})
		b.must(err)
		below := &pending{layers: []string{top(base), store.LayerID(top(base), res.DiffID)}, done: make(chan struct{})}
		commit := func() {
			_, err := s.Commit(t.Context(), top(base))
			b.must(err)
			close(below.done)
		}
		if dir == nil { // the next one has to wait
			commit()
		} else {
			defer dir.Close()
			below.dirs = []*os.File{dir}
		}
		next := b.prepare(below)
		b.run(next, snapshot.NS{}, func(root string) {
			if text, err := os.ReadFile(filepath.Join(root, "first")); err != nil || string(text) != "first" {
				t.Errorf("the step sees %q, %v", text, err)
			}
			b.must(put(root, "second", 0, 0))
		})
		if dir != nil {
			commit()
		}
		l, _ := b.commit(next, below.layers[1])
		if diff := cmp.Diff([]string{"second 0:0"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMoreLayersThanTheKernelStacksAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, store.Options{Driver: "overlay", Root: t.TempDir()})
	dir, err := os.Open(t.TempDir())
	b.must(err)
	defer dir.Close()
	for n, ok := range map[int]bool{479: true, 480: false} {
		below := &pending{dirs: slices.Repeat([]*os.File{dir}, n), layers: []string{""}, done: make(chan struct{})}
		s, err := b.room.Prepare(t.Context(), below)
		if ok {
			b.must(err, s.Remove())
			continue
		}
		if err == nil || err.Error() != "the base image has 480 layers; no more than 480 can be built on" {
			t.Errorf("%d layers: %v", n, err)
		}
	}
}
