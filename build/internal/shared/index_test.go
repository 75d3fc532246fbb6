package shared

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

func key(name string) cache.Key { return cache.NewKey(name).Key() }

// one is a record of a layer that was used some days ago.
func one(name string, days int) record {
	d := digest.FromString(name)
	when := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -days)
	return record{Shape: key("shape"), Content: d, Created: when, Used: when, Layer: &layer{DiffID: d, Size: 3,
		Blob: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: 2}}}
}

func TestAnIndexThatIsImpossibleIsRefused(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x").String()
	good := fmt.Sprintf(`{"version":1,"records":{%q:{"shape":%q,"content":%q,"created":"2026-01-01T00:00:00Z","took":1,`+
		`"layer":{"diffID":%q,"size":3,"blob":{"mediaType":%q,"digest":%q,"size":2}}}}}`, key("a"), key("shape"), d, d,
		ocispec.MediaTypeImageLayerZstd, d)
	if x, err := parseIndex([]byte(good)); err != nil || len(x.Records) != 1 {
		t.Fatal(x, err)
	}
	for what, change := range map[string][2]string{
		"key":      {string(key("a")), "../../etc/passwd"},
		"shape":    {string(key("shape")), "x"},
		"digest":   {`"diffID":"sha256:`, `"diffID":"md5:`},
		"content":  {`"content":"sha256:`, `"content":"`},
		"no time":  {`"2026-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`},
		"size":     {`"size":2`, `"size":-2`},
		"type":     {ocispec.MediaTypeImageLayerZstd, "text/plain"},
		"number":   {`"took":1`, `"took":"1"`},
		"no JSON":  {`{"version"`, `"version"`},
		"truncted": {`}}}}}`, `}`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if _, err := parseIndex([]byte(text)); text == good || !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := parseIndex([]byte(`{"version":2}`)); err == nil || errors.Is(err, errDamaged) ||
		!strings.Contains(err.Error(), "version 2") {
		t.Errorf("a later version: %v", err)
	}
}

func TestIndexesAreJoined(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	old := &index{Records: map[cache.Key]record{key("both"): one("old", 2), key("theirs"): one("theirs", 29),
		key("unused"): one("unused", 31)}}
	mine := &index{Records: map[cache.Key]record{key("both"): one("mine", 0)}}
	all := joined(old, mine, now)
	if len(all.Records) != 2 || all.Records[key("both")].Content != digest.FromString("mine") || len(all.blobs()) != 2 {
		t.Errorf("%+v", all.Records)
	}
	if !all.has(mine) || old.has(mine) || (&index{}).has(mine) {
		t.Error("what is there is not known, or what is not")
	}
	left := all.without(map[digest.Digest]bool{digest.FromString("theirs"): true})
	if len(left.Records) != 1 || !left.has(mine) {
		t.Errorf("%+v", left.Records)
	}
}

func TestTheLeastUsedOfTooManyRecordsGo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	mine, old := &index{Records: map[cache.Key]record{}}, &index{Records: map[cache.Key]record{}}
	for i := range maxRecords - 1 {
		mine.Records[key(fmt.Sprint("mine", i))] = one("mine", 0)
	}
	old.Records[key("later")], old.Records[key("earlier")] = one("later", 1), one("earlier", 2)
	all := joined(old, mine, now)
	_, later := all.Records[key("later")]
	if _, earlier := all.Records[key("earlier")]; len(all.Records) != maxRecords || !later || earlier {
		t.Errorf("%d records, %v, %v", len(all.Records), later, earlier)
	}
	if _, err := newArtifact(all, nil); err != nil {
		t.Error(err)
	}
}

// FuzzParseIndex checks that what is read of an index from outside is possible, and the same when it is read again.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"version":1,"records":{}}`))
	a, err := newArtifact(&index{Version: version, Records: map[cache.Key]record{key("a"): one("a", 1)}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.index)
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := parseIndex(text)
		if err != nil {
			return
		}
		for k, r := range x.Records {
			if k.Validate() != nil || r.cached().Created.IsZero() {
				t.Errorf("%q: %+v", k, r)
			}
		}
		again, err := newArtifact(x, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseIndex(again.index); err != nil {
			t.Error(err)
		}
	})
}
