package library

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestOnlyRecordsOfTheSameBlobAreChanged(t *testing.T) {
	t.Parallel()
	d := digest.FromString("blob")
	list := `[{"id":"a","compressed-diff-digest":"` + d.String() + `","flags":{"cooper":true},"unknown":{"x":[1]}},` +
		`{"id":"b","compressed-diff-digest":"` + digest.FromString("other").String() + `"},{"id":"c"},` +
		`{"id":"d","compressed-diff-digest":"` + d.String() + `","flags":{"cooper":true,"mine":1},"compression":5}]`
	got, err := withBlobs([]byte(list), map[string]Blob{"a": {d, 7, 2}, "b": {d, 8, 2}, "c": {d, 9, 2}, "d": {Digest: d}})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"compressed-diff-digest":"` + d.String() +
		`","compressed-size":7,"compression":2,"id":"a","unknown":{"x":[1]}},` +
		`{"compressed-diff-digest":"` + digest.FromString("other").String() + `","id":"b"},{"id":"c"},` +
		`{"compressed-diff-digest":"` + d.String() + `","compression":5,"flags":{"mine":1},"id":"d"}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "{}", `[1]`} {
		if _, err := withBlobs([]byte(text), nil); err == nil {
			t.Errorf("%q is taken for a list of layers", text)
		}
	}
}
