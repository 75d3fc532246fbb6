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
