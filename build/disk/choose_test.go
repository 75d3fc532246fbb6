package disk_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

// at is a time that many hours after the first use of anything.
func at(hours int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hours) * time.Hour)
}

func item(kind disk.Kind, id string, size int64, used int) disk.Item {
	return disk.Item{Kind: kind, ID: id, Size: usage.Size{Bytes: size}, LastUse: at(used)}
}

func on(below string, i disk.Item) disk.Item {
	i.On = below
	return i
}

func with(i disk.Item, set func(*disk.Item)) disk.Item {
	set(&i)
	return i
}

func inUse(i *disk.Item)   { i.InUse = true }
func shared(i *disk.Item)  { i.Shared = true }
func useless(i *disk.Item) { i.Useless = true }
func bound(i *disk.Item)   { i.Bound = true }

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	t.Parallel()
	chain := []disk.Item{
		item(disk.Images, "image", 1000, 0),
		item(disk.Layers, "a", 10, 1), on("a", item(disk.Layers, "b", 10, 2)), on("b", item(disk.Layers, "c", 10, 3)),
		item(disk.Layers, "d", 10, 2),
	}
	for name, test := range map[string]struct {
		items  []disk.Item
		policy disk.Policy
		want   string
	}{
		"nothing":                {nil, disk.Policy{}, ""},
		"images stay":            {[]disk.Item{item(disk.Images, "x", 5, 0)}, disk.Policy{Shared: true}, ""},
		"within the limit":       {chain, disk.Policy{Limit: 40}, ""},
		"a byte above":           {chain, disk.Policy{Limit: 39}, "d"},
		"from the top of chains": {chain, disk.Policy{Limit: 20}, "d c"},
		"no limit":               {chain, disk.Policy{}, "d c b a"},
		"a layer in use holds those below": {
			[]disk.Item{item(disk.Layers, "a", 1, 1), with(on("a", item(disk.Layers, "b", 1, 2)), inUse),
				item(disk.Layers, "c", 1, 3)},
			disk.Policy{}, "c",
		},
		"unused since": {chain, disk.Policy{Unused: at(3)}, "d"},
		"kinds": {
			[]disk.Item{item(disk.Layers, "a", 1, 1), item(disk.Mounts, "m", 1, 2), item(disk.Sources, "s", 1, 3)},
			disk.Policy{Kinds: []disk.Kind{disk.Sources, disk.Mounts}}, "m s",
		},
		"copies and records go with their layer": {
			[]disk.Item{
				item(disk.Layers, "a", 1, 1), on("a", item(disk.Shifted, "copy", 1, 2)),
				on("a", item(disk.Records, "record", 1, 3)),
				with(on("a", item(disk.Records, "image", 1, 0)), bound),
			},
			disk.Policy{Kinds: []disk.Kind{disk.Layers}}, "copy record image a",
		},
		"what goes along counts": {
			[]disk.Item{item(disk.Layers, "a", 1, 1), on("a", item(disk.Shifted, "copy", 10, 2)), item(disk.Mounts, "m", 5, 3)},
			disk.Policy{Limit: 5}, "copy a",
		},
		"a copy goes before its layer": {
			[]disk.Item{item(disk.Layers, "a", 10, 5), on("a", item(disk.Shifted, "copy", 10, 2))}, disk.Policy{Limit: 10},
			"copy",
		},
		"a copy in use keeps its layer": {
			[]disk.Item{item(disk.Layers, "a", 10, 1), with(on("a", item(disk.Shifted, "copy", 10, 2)), inUse)}, disk.Policy{},
			"",
		},
		"a bound record stays with its layer": {
			[]disk.Item{with(item(disk.Layers, "a", 1, 1), inUse), with(on("a", item(disk.Records, "image", 1, 0)), bound)},
			disk.Policy{Shared: true}, "",
		},
		"a record goes with its layer, not before": {
			[]disk.Item{item(disk.Layers, "a", 10, 5), on("a", item(disk.Records, "record", 1, 1)),
				item(disk.Mounts, "m", 10, 2)},
			disk.Policy{Limit: 15}, "m",
		},
		"what images that stay use": {
			[]disk.Item{with(item(disk.Shifted, "copy", 1, 1), shared), item(disk.Mounts, "m", 1, 2)}, disk.Policy{}, "m",
		},
		"even what images that stay use": {
			[]disk.Item{with(item(disk.Shifted, "copy", 1, 1), shared), item(disk.Mounts, "m", 1, 2)}, disk.Policy{Shared: true},
			"copy m",
		},
		"the useless first, however young": {
			[]disk.Item{item(disk.Mounts, "m", 5, 1), with(with(item(disk.Records, "r", 5, 9), useless), shared)},
			disk.Policy{Limit: 5, Unused: at(2)}, "r",
		},
		"the useless in use": {[]disk.Item{with(with(item(disk.Records, "r", 5, 9), useless), inUse)}, disk.Policy{}, ""},
		"what gives nothing back stays, with a limit": {
			[]disk.Item{item(disk.Records, "r", 0, 1), item(disk.Mounts, "m", 5, 2)}, disk.Policy{Limit: 1}, "m",
		},
		"what gives nothing back goes, without": {[]disk.Item{item(disk.Records, "r", 0, 1)}, disk.Policy{}, "r"},
		"the larger of two as old": {[]disk.Item{item(disk.Mounts, "s", 1, 1), item(disk.Mounts, "l", 2, 1)},
			disk.Policy{Limit: 2}, "l"},
		"nobody knows when it was used": {[]disk.Item{item(disk.Mounts, "m", 1, 1),
			{Kind: disk.Mounts, ID: "x", Size: usage.Size{Bytes: 1}}}, disk.Policy{Limit: 1}, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, i := range disk.Choose(test.items, test.policy) {
				got = append(got, i.ID)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("goes: %q, not %q", strings.Join(got, " "), test.want)
			}
		})
	}
}

func TestSizesAreDockers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "10b": 10, "1k": 1000, "512mb": 512e6, "10GB": 10e9, "2GiB": 2 << 30, "1.5kib": 1536, "3 MB": 3e6,
		"1t": 1e12,
	} {
		if got, err := disk.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; not %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "-5GB", "GB", "1XB", "1GBB", "one", "1e30GB", "99999999PB", "1..2"} {
		if got, err := disk.ParseSize(text); err == nil || !strings.Contains(err.Error(), "such as 512MB") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestUnknownKindsAreRefused(t *testing.T) {
	t.Parallel()
	if kinds, err := disk.ParseKinds("layers, mounts"); err != nil || len(kinds) != 2 || kinds[1] != disk.Mounts {
		t.Errorf("%v, %v", kinds, err)
	}
	for _, text := range []string{"", "images", "layer", "layers,", "mounts,x"} {
		if _, err := disk.ParseKinds(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
