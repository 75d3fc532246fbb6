package catalog

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store/images"
)

func TestPatternsFitNamesAndTheirLastComponents(t *testing.T) {
	t.Parallel()
	const name = "registry.example.com:5000/team/app:1.2"
	for pattern, want := range map[string]bool{
		name: true, "app": true, "app:1.2": true, "team/app": true, "team/*": true, "*:1.2": true,
		"registry*/team/app:1.*": true,
		"*":                      true, "registry.example.com:5000/team/app": true,
		"app:1": false, "ap": false, "team": false, "registry.example.com:5000": false, "1.2": false, "": false,
	} {
		if got := fits(pattern, name); got != want {
			t.Errorf("%q fits %s: %v", pattern, name, got)
		}
	}
}

func TestFiltersThatAreNoneSayWhatTheyMustBe(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"dangling": "must be KEY=VALUE", "dangling=": "must be KEY=VALUE", "dangling=maybe": "must be true or false",
		"reference=[": "syntax error in pattern", "size=1": "the keys are before, containers",
		"until=yesterday": "must be a date", "containers=many": "true or false", "size!=1": "the keys are before, containers",
		"dangling!=maybe": "true or false", "reference!=[": "syntax error in pattern", "before!=a": "no opposite",
		"id!": "must be KEY=VALUE", "intermediate=1m": "true or false",
	} {
		if _, err := ParseFilters([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// known are images by name.
type known map[string]string

func (k known) LookUp(name string) (id, given string, err error) {
	if id, ok := k[name]; ok {
		return id, name, nil
	}
	return "", "", images.ErrNoImage
}

func TestFiltersChoose(t *testing.T) {
	t.Parallel()
	at := func(id string, minute int, labels map[string]string, names ...string) images.Listed {
		l := images.Listed{ID: id, Names: names, Created: time.Unix(int64(minute)*60, 0)}
		l.Image.Config.Labels = labels
		return l
	}
	all := []images.Listed{
		at("a", 1, map[string]string{"x": "1", "y": "2"}, "localhost/a:1", "localhost/b:1"),
		at("b", 2, map[string]string{"x": "2"}, "quay.io/a:1"),
		at("c", 3, nil),
	}
	all[0].Digest, all[1].Digests = "sha256:1122", []digest.Digest{"sha256:2233"}
	all[2].Intermediate = true
	all[0].ReadOnly, all[1].Containers, all[2].Instances = true, []string{"user"}, []string{"a"}
	by := known{"a": "a", "b": "b", "c": "c"}
	for filters, want := range map[string]string{
		"": "a:2 b:1 c:0", "dangling=true": "c:0", "dangling=false": "a:2 b:1", "label=x": "a:2 b:1", "label=x=1": "a:2",
		"label=x label=y": "a:2", "label=y=": "", "since=a": "b:1 c:0", "before=c": "a:2 b:1", "since=a before=c": "b:1",
		"after=b": "c:0", "reference=b": "a:1", "reference=a": "a:1 b:1", "reference=b reference=quay.io/*": "a:1 b:1",
		"since=none": "error", "id=b": "b:1", "id=sha256:c id=a": "a:2 c:0", "digest=sha256:11": "a:2", "digest=22": "b:1",
		"containers=true": "b:1", "containers=false": "a:2 c:0", "manifest=true": "c:0", "readonly=true": "a:2",
		"until=120": "a:2", "until=1970-01-01T00:02:30Z": "a:2 b:1", "until=24h": "a:2 b:1 c:0", "until=24h id=x": "",
		"intermediate=true": "c:0", "intermediate=false": "a:2 b:1", "label!=x": "c:0", "label!=x=2": "a:2 c:0",
		"label!=x=2 label!=y": "c:0", "label=x label!=y=2": "b:1", "dangling!=true": "a:2 b:1", "reference!=b": "b:1 c:0",
		"id!=a id!=b": "c:0", "readonly!=true": "b:1 c:0", "until!=120": "b:1 c:0",
	} {
		f, err := ParseFilters(strings.Fields(filters))
		if err != nil {
			t.Fatal(err)
		}
		keep, err := f.bind(by, all)
		var got []string
		for _, l := range all {
			if err != nil {
				break
			}
			if names, listed := keep(l); listed {
				got = append(got, l.ID+":"+string(rune('0'+len(names))))
			}
		}
		if errors.Is(err, images.ErrNoImage) {
			got = []string{"error"}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q chooses %q, not %q", filters, text, want)
		}
	}
}

func TestTablesAreSortedAndHaveALineForEachName(t *testing.T) {
	t.Parallel()
	list := []Image{
		{ID: "1", Size: 3, CreatedAt: time.Unix(1, 0), Names: []string{"localhost/z:1", "localhost/a:9"}},
		{ID: "3", Size: 1, CreatedAt: time.Unix(3, 0)},
		{ID: "2", Size: 2, CreatedAt: time.Unix(2, 0), Names: []string{"localhost/m@sha256:" + strings.Repeat("0", 64)}},
	}
	for by, want := range map[SortKey]string{
		"created": "3<none> 2<none> 11 19", "id": "11 19 2<none> 3<none>", "size": "3<none> 2<none> 11 19",
		"repository": "3<none> 19 2<none> 11", "tag": "11 19 3<none> 2<none>",
	} {
		var got []string
		for _, r := range Rows(slices.Clone(list), by) {
			got = append(got, r.ID+r.Tag)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("by %s: %s", by, text)
		}
	}
}
