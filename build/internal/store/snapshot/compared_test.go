package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
)

// TestAFileThatIsWrittenTwiceInASecondIsWhatItBecameLast though its size stays the same.
func TestAFileThatIsWrittenTwiceInASecondIsWhatItBecameLast(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, _ []store.Layer) {
		at := time.Unix(1_700_000_000, 0)
		write := func(part time.Duration, text string) func(root string) {
			return func(root string) {
				b.must(os.MkdirAll(filepath.Join(root, "d"), 0o755))
				for _, name := range []string{"f", "d/f"} {
					path := filepath.Join(root, name)
					b.must(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at.Add(part), at.Add(part)))
				}
				b.must(os.WriteFile(filepath.Join(root, text), nil, 0o600), os.Chtimes(filepath.Join(root, "d"), at, at))
			}
		}
		all := b.add(nil, write(time.Millisecond, "one"))
		all = b.add(all, write(2*time.Millisecond, "two"))
		if diff := cmp.Diff([]string{"d/ 0:0", "d/f 0:0", "f 0:0", "two 0:0"}, b.entries(all[1])); diff != "" {
			t.Error(diff)
		}
		squashed, _, err := b.room.Chains().Squash(t.Context(), []string{all[0].ID}, []string{all[1].ID},
			snapshot.ReadOptions{})
		b.must(err)
		for name, layers := range map[string]snapshot.Layers{"layers": on(all), "squashed": {all[0].ID, squashed.ID}} {
			b.view(layers, snapshot.NS{}, func(dir string) {
				for _, file := range []string{"f", "d/f"} {
					if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(text) != "two" {
						t.Errorf("%s: %s is %q, %v", name, file, text, err)
					}
				}
			})
		}
	})
}

// TestFilesOfOtherStepsInTheSameSecondStayOut of a layer: only what has another time, or is in the archives that are
// squashed, counts as changed.
func TestFilesOfOtherStepsInTheSameSecondStayOut(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		all := b.add(base, func(root string) {
			now := time.Now()
			b.must(os.MkdirAll(filepath.Join(root, "kept/deep"), 0o755))
			for _, name := range []string{"kept/deep/f", "kept/g"} {
				path := filepath.Join(root, name)
				b.must(os.WriteFile(path, []byte(name), 0o600), os.Chtimes(path, now, now))
			}
			b.must(os.Symlink("kept/g", filepath.Join(root, "link")), settle(root))
		})
		all = b.add(all, func(root string) { b.must(put(root, "kept/new", 0, 0)) })
		if diff := cmp.Diff([]string{"kept/ 0:0", "kept/new 0:0"}, b.entries(all[2])); diff != "" {
			t.Error(diff)
		}
		all = b.add(all, func(root string) {
			path := filepath.Join(root, "link")
			b.must(os.Remove(path), os.Symlink("kept/f", path), os.RemoveAll(filepath.Join(root, "kept/deep")))
		})
		if diff := cmp.Diff([]string{"kept/ 0:0", "kept/.wh.deep 0:0", "link 0:0"}, b.entries(all[3])); diff != "" {
			t.Error(diff)
		}
		squashed, res, err := b.room.Chains().Squash(t.Context(), on(all[:2]), on(all[2:]), snapshot.ReadOptions{})
		b.must(err)
		squashed.DiffID = res.DiffID
		want := []string{"kept/ 0:0", "kept/.wh.deep 0:0", "kept/new 0:0", "link 0:0"}
		if diff := cmp.Diff(want, b.entries(squashed)); diff != "" {
			t.Error(diff)
		}
	})
}
