package cache_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

// FuzzRecord reads records that something else has written: each is a record or none, and stays what it is when it is
// written anew.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"created":"2026-01-01T00:00:00Z","layer":"x","content":"sha256:0"}`))
	f.Add([]byte(`{"created":"2026-01-01T00:00:00Z","layer":{"x":[1]}}`))
	f.Add([]byte(`[]`))
	dir := f.TempDir()
	c, err := cache.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	k := cache.NewKey("run").Key()
	path := filepath.Join(dir, "steps", string(k[:2]), string(k[2:]))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r := c.Get(k)
		if r == nil {
			return
		}
		if err := c.Put(k, *r); err != nil {
			return // no record of cooper's
		}
		if again := c.Get(k); again == nil || !again.Created.Equal(r.Created) {
			t.Errorf("%q became %+v, and then %+v", text, r, again)
		}
	})
}
