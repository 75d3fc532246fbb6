package partial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/tarsplit"
)

// blobBytes is a blob.
type blobBytes []byte

var _ Source = blobBytes(nil)

func (b blobBytes) FetchPart(_ context.Context, _ ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 || length < 0 || offset+length > int64(len(b)) {
		return nil, fmt.Errorf("asked for %d bytes from %d on", length, offset)
	}
	return io.NopCloser(bytes.NewReader(b[offset : offset+length])), nil
}

func packed(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	check(t, err)
	_, err = z.Write(text)
	check(t, errors.Join(err, z.Close()))
	return b.Bytes()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// made is a blob of two files, "one" and "two", which the layer with "one" isn't said to be an archive of.
type made struct {
	table, records []byte
}

// blob puts the blob together: the data of the files, padded with noise that nobody needs, table, and records.
func (m made) blob(t *testing.T) (blobBytes, ocispec.Descriptor) {
	t.Helper()
	b := append(packed(t, []byte("data of one")), packed(t, []byte("data of two"))...)
	b = append(b, make([]byte, 100<<10)...)
	table := packed(t, m.table)
	at := len(b)
	b = append(b, table...)
	records := packed(t, m.records)
	from := len(b)
	b = append(b, records...)
	return b, ocispec.Descriptor{Size: int64(len(b)), Digest: digest.FromBytes(b), Annotations: map[string]string{
		tablePosition:   fmt.Sprintf("%d:%d:%d:1", at, len(table), len(m.table)),
		recordsPosition: fmt.Sprintf("%d:%d:%d", from, len(records), len(m.records)),
	}}
}

// records are those of files, whose headers are their names.
func records(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tarsplit.NewWriter(&b)
	for _, name := range files {
		w.Frame([]byte("<" + name + ">"))
		text := []byte("data of " + filepath.Base(name))
		check(t, errors.Join(w.Segment(), w.File([]byte(name), int64(len(text)), tarsplit.CRC(0, text))))
	}
	w.Frame([]byte("<end>"))
	check(t, errors.Join(w.Segment(), w.Close()))
	return b.Bytes()
}

// index is that of a layer with a file "one".
func index(t *testing.T, name string) *Index {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layer")
	check(t, os.Mkdir(dir, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "one"), []byte("data of one"), 0o600))
	check(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "one"), []byte("DATA OF one"), 0o600)) // outside
	f, err := fsys.OpenDir(dir)
	check(t, err)
	x := &Index{}
	check(t, x.Add(f, bytes.NewReader(records(t, name))))
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func tableOf(entries string) []byte { return []byte(`{"version":1,"entries":[` + entries + `]}`) }

func entry(name string, size int, from, to int64) string {
	return fmt.Sprintf(`{"type":"reg","name":%q,"size":%d,"offset":%d,"endOffset":%d,"modtime":"2020-01-01T00:00:00Z"}`,
		name, size, from, to)
}

func TestAnArchiveIsMadeOfALayerAndTheBlob(t *testing.T) {
	t.Parallel()
	one := int64(len(packed(t, []byte("data of one"))))
	two := one + int64(len(packed(t, []byte("data of two"))))
	right := tableOf(entry("one", 11, 0, one) + `,{"type":"dir","name":"d"},` + entry("two", 11, one, two))
	both := records(t, "one", "two")
	const whole = "<one>data of one<two>data of two<end>"
	bomb := bytes.Repeat([]byte(" "), maxTable+1)
	for name, c := range map[string]struct {
		made
		local string
		want  string // "": an error
	}{
		"as it is":                  {made{right, both}, "one", whole},
		"a file that has moved":     {made{right, both}, "x/../one", whole},
		"a name that leads out":     {made{right, both}, "../one", whole},
		"a file that isn't there":   {made{right, both}, "d/one", ""},
		"no table":                  {made{nil, both}, "one", ""},
		"no JSON":                   {made{[]byte("{{{"), both}, "one", ""},
		"entries of another kind":   {made{[]byte(`{"entries":{"a":1}}`), both}, "one", ""},
		"a table that is too long":  {made{append(bomb, right...), both}, "one", ""},
		"records with a long entry": {made{right, append(bytes.Repeat([]byte(" "), 2*maxEntry), both...)}, "one", ""},
		"no records":                {made{right, nil}, "one", "-"},
		"records that are no JSON":  {made{right, []byte("]")}, "one", ""},
		"fewer files":               {made{tableOf(entry("one", 11, 0, one)), both}, "one", ""},
		"another size": {made{tableOf(entry("one", 11, 0, one) + "," + entry("two", 12, one, two)), both},
			"one", ""},
		"another name": {made{tableOf(entry("one", 11, 0, one) + "," + entry("three", 11, one, two)), both},
			"one", ""},
		"the order is another": {made{tableOf(entry("one", 11, one, two) + "," + entry("two", 11, 0, one)), both},
			"one", ""},
		"an end before the start":  {made{tableOf(entry("one", 11, 5, 4)), both}, "one", ""},
		"a place beyond the end":   {made{tableOf(entry("one", 11, 0, 1<<62)), both}, "one", ""},
		"a place before the start": {made{tableOf(entry("one", 11, -5, 4)), both}, "one", ""},
		"data that is no frame": {made{tableOf(entry("one", 11, 0, one) + "," + entry("two", 11, one+1, two)), both},
			"one", ""},
		"data that is too short": {made{tableOf(entry("one", 11, 0, one) + "," + entry("two", 11, one, two-4)), both},
			"one", ""},
		"a file that is named twice": {made{right, append(bytes.Clone(both), both...)}, "one", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, d := c.blob(t)
			x := index(t, c.local)
			a, err := Open(t.Context(), src, d, x)
			var text []byte
			if err == nil {
				text, err = io.ReadAll(a)
				err = errors.Join(err, a.Close())
			}
			if want := strings.TrimPrefix(c.want, "-"); c.want == "" && err == nil || c.want != "" && (err != nil ||
				string(text) != want) {
				t.Errorf("it is %q, %v", text, err)
			}
		})
	}
}

func TestAnArchiveThatNobodyWantsEnds(t *testing.T) {
	t.Parallel()
	one := int64(len(packed(t, []byte("data of one"))))
	two := one + int64(len(packed(t, []byte("data of two"))))
	m := made{tableOf(entry("one", 11, 0, one) + "," + entry("two", 11, one, two)), records(t, "one", "two")}
	src, d := m.blob(t)
	a, err := Open(t.Context(), stalled{src, one}, d, index(t, "one"))
	check(t, err)
	begin := make([]byte, 5)
	_, err = io.ReadFull(a, begin)
	check(t, err)
	check(t, a.Close())
}

// stalled is a blob of which the part at an offset never comes.
type stalled struct {
	blobBytes
	at int64
}

func (s stalled) FetchPart(ctx context.Context, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if offset == s.at {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.blobBytes.FetchPart(ctx, d, offset, length)
}
