package disk_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

func TestAnItemIsNamedByItsLabelFirst(t *testing.T) {
	t.Parallel()
	if got := (disk.Item{ID: "id", Label: "label"}).Name(); got != "label" {
		t.Error(got)
	}
	if got := (disk.Item{ID: "id"}).Name(); got != "id" {
		t.Error(got)
	}
}

func TestTotalsAddUp(t *testing.T) {
	t.Parallel()
	items := []disk.Item{item(disk.Layers, "a", 3, 1), item(disk.Images, "b", 4, 1)}
	if disk.Total(items) != 7 || disk.Total(nil) != 0 || disk.Freed(items) != 7 || disk.Freed(nil) != 0 {
		t.Errorf("%d, %d", disk.Total(items), disk.Freed(items))
	}
}

func TestAFileWithNamesInTwoItemsIsFreedOnlyWithBoth(t *testing.T) {
	t.Parallel()
	sizes := linked(t, t.TempDir())
	one, two := disk.Item{Size: sizes[0]}, disk.Item{Size: sizes[1]}
	if got := disk.Freed([]disk.Item{one}) + disk.Freed([]disk.Item{two}); got >= disk.Freed([]disk.Item{one, two}) {
		t.Errorf("alone they free %d bytes, together %d", got, disk.Freed([]disk.Item{one, two}))
	}
}

func TestSizesAreWrittenAsDockerWritesThem(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{0: "0B", 999: "999B", 1000: "1kB", 1500: "1.5kB", 1e6: "1MB",
		1234567890: "1.235GB"} {
		if got := disk.FormatSize(bytes); got != want {
			t.Errorf("%d is written as %s, not %s", bytes, got, want)
		}
	}
}

func TestTheKindsThatCanGoAreNamedInTheError(t *testing.T) {
	t.Parallel()
	_, err := disk.ParseKinds("layers,nothing")
	if want := `type "nothing": must be layers, shifted, mounts, sources or records`; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	all := []string{}
	for _, k := range disk.Kinds()[1:] {
		all = append(all, string(k))
	}
	if kinds, err := disk.ParseKinds(strings.Join(all, ",")); err != nil || !slices.Equal(kinds, disk.Kinds()[1:]) {
		t.Errorf("%v, %v", kinds, err)
	}
}

// random makes items of chains of layers, and things on them.
func random(r *rand.Rand) (items []disk.Item) {
	for n := range 40 {
		i := item(disk.Kinds()[r.IntN(6)], fmt.Sprint("i", n), r.Int64N(20), r.IntN(10))
		if n > 0 && i.Kind != disk.Images && r.IntN(2) == 0 {
			if below := items[r.IntN(n)]; below.Kind == disk.Layers {
				i.On = below.ID
			}
		}
		i.InUse, i.Shared, i.Useless = r.IntN(9) == 0, r.IntN(4) == 0, r.IntN(9) == 0
		i.Bound = i.On != "" && i.Kind == disk.Records && r.IntN(2) == 0
		items = append(items, i)
	}
	return items
}

// Whatever is there, these hold.
func TestWhatGoesCanGoInThatOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		items := random(r)
		policy := disk.Policy{Limit: r.Int64N(200), Shared: r.IntN(2) == 0}
		gone := map[string]bool{}
		for _, i := range disk.Choose(items, policy) {
			if gone[i.ID] {
				t.Fatalf("seed %d: %s goes twice", seed, i.ID)
			}
			gone[i.ID] = true
			if i.Kind == disk.Images || i.InUse {
				t.Fatalf("seed %d: %+v goes", seed, i)
			}
			if i.Kind != disk.Layers {
				continue
			}
			for _, above := range items {
				if above.On == i.ID && !gone[above.ID] && above.Kind != disk.Images {
					t.Fatalf("seed %d: %s goes before %s, which stands on it", seed, i.ID, above.ID)
				}
			}
		}
	}
}

// linked are the sizes of two directories that have one file of 100 kB together.
func linked(t *testing.T, dir string) (sizes [2]usage.Size) {
	t.Helper()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	err := errors.Join(os.Mkdir(one, 0o700), os.Mkdir(two, 0o700),
		os.WriteFile(filepath.Join(one, "f"), make([]byte, 100_000), 0o600),
		os.Link(filepath.Join(one, "f"), filepath.Join(two, "f")))
	if err != nil {
		t.Fatal(err)
	}
	for n, path := range []string{one, two} {
		if sizes[n], err = usage.Measure(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	return sizes
}
