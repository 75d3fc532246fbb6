package index

import (
	"encoding/json"
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
func one(name string, days int) Record {
	d := digest.FromString(name)
	when := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -days)
	return Record{Shape: key("shape"), Content: d, Created: when, Used: when, Layer: &Layer{DiffID: d, Size: 3,
		Blob: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: 2}}}
}

func TestAnIndexThatIsImpossibleIsRefused(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x").String()
	good := fmt.Sprintf(`{"version":1,"records":{%q:{"shape":%q,"content":%q,"created":"2026-01-01T00:00:00Z","took":1,`+
		`"layer":{"diffID":%q,"size":3,"blob":{"mediaType":%q,"digest":%q,"size":2}}}}}`, key("a"), key("shape"), d, d,
		ocispec.MediaTypeImageLayerZstd, d)
	if x, err := Parse([]byte(good)); err != nil || len(x.Records) != 1 {
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
		if _, err := Parse([]byte(text)); text == good || !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Parse([]byte(`{"version":2}`)); err == nil || errors.Is(err, ErrDamaged) ||
		!strings.Contains(err.Error(), "version 2") {
		t.Errorf("a later version: %v", err)
	}
}

func TestIndexesAreJoined(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	old := &Index{Records: map[cache.Key]Record{key("both"): one("old", 2), key("theirs"): one("theirs", 29),
		key("unused"): one("unused", 31)}}
	mine := &Index{Records: map[cache.Key]Record{key("both"): one("mine", 0)}}
	all := Join(old, mine, now)
	if len(all.Records) != 2 || all.Records[key("both")].Content != digest.FromString("mine") || len(all.Blobs()) != 2 {
		t.Errorf("%+v", all.Records)
	}
	if !all.Has(mine) || old.Has(mine) || (&Index{}).Has(mine) {
		t.Error("what is there is not known, or what is not")
	}
	left := all.Without(map[digest.Digest]bool{digest.FromString("theirs"): true})
	if len(left.Records) != 1 || !left.Has(mine) {
		t.Errorf("%+v", left.Records)
	}
}

func TestTheLeastUsedOfTooManyRecordsGo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	mine, old := &Index{Records: map[cache.Key]Record{}}, &Index{Records: map[cache.Key]Record{}}
	for i := range maxRecords - 1 {
		mine.Records[key(fmt.Sprint("mine", i))] = one("mine", 0)
	}
	old.Records[key("later")], old.Records[key("earlier")] = one("later", 1), one("earlier", 2)
	all := Join(old, mine, now)
	_, later := all.Records[key("later")]
	if _, earlier := all.Records[key("earlier")]; len(all.Records) != maxRecords || !later || earlier {
		t.Errorf("%d records, %v, %v", len(all.Records), later, earlier)
	}
	if text, err := json.Marshal(all); err != nil || len(text) > MaxSize {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// FuzzParse checks that what is read of an index from outside is possible, and the same when it is read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"records":{}}`))
	first, err := json.Marshal(&Index{Version: Version, Records: map[cache.Key]Record{key("a"): one("a", 1)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(first)
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := Parse(text)
		if err != nil {
			return
		}
		for k, r := range x.Records {
			if k.Validate() != nil || r.Cached().Created.IsZero() {
				t.Errorf("%q: %+v", k, r)
			}
		}
		again, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(again); err != nil {
			t.Error(err)
		}
	})
}
