package partial

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// TestPositionsThatLieAreNotAskedFor has the whole blob fetched, which its digest is checked of.
func TestPositionsThatLieAreNotAskedFor(t *testing.T) {
	t.Parallel()
	l := newLarge(t, 0, 1000)
	good := l.d.Annotations
	if !Possible(l.d) || Possible(ocispec.Descriptor{Size: 1}) ||
		Possible(ocispec.Descriptor{Annotations: map[string]string{tablePosition: good[tablePosition]}}) {
		t.Error("a table is seen where there is none, or not where there is one")
	}
	const huge = 1 << 40
	for name, test := range map[string]struct {
		text string // of the table; that of records has no kind
		size int64  // of the blob
		want bool
	}{
		"the end":          {"90:10:1000:1", 100, true},
		"as large as may":  {fmt.Sprintf("0:%d:1:1", maxPacked), huge, true},
		"nothing":          {"", 100, false},
		"too few numbers":  {"1:1", 100, false},
		"too many numbers": {"1:2:3:4:1", 100, false},
		"no numbers":       {"a:b:c:1", 100, false},
		"no number at all": {"99999999999999999999:1:1:1", huge, false},
		"a negative place": {"-1:10:10:1", 100, false},
		"a negative size":  {"1:-10:10:1", 100, false},
		"too large":        {fmt.Sprintf("0:%d:10:1", maxPacked+1), huge, false},
		"beyond the end":   {"95:6:10:1", 100, false},
		"after the end":    {"101:0:10:1", 100, false},
		"an overflow":      {fmt.Sprintf("%d:10:10:1", int64(math.MaxInt64)-5), 100, false},
	} {
		d := ocispec.Descriptor{Size: test.size, Annotations: map[string]string{
			tablePosition: test.text, recordsPosition: strings.TrimSuffix(test.text, ":1")}}
		_, err := position(d, tablePosition, tableKind)
		_, same := position(d, recordsPosition)
		if (err == nil) != test.want || (same == nil) != test.want || !test.want && !errors.Is(err, ErrWhole) {
			t.Errorf("%s: %v, %v", name, err, same)
		}
	}
	other := l.d
	other.Annotations = map[string]string{recordsPosition: good[recordsPosition],
		tablePosition: strings.TrimSuffix(good[tablePosition], ":1") + ":2"}
	if _, err := Open(t.Context(), l, other, &Index{}); !errors.Is(err, ErrWhole) {
		t.Errorf("a table of another kind: %v", err)
	}
	far := l.d
	far.Annotations = map[string]string{tablePosition: "0:10:10:1", recordsPosition: good[recordsPosition]}
	if _, err := Open(t.Context(), l, far, &Index{}); !errors.Is(err, ErrWhole) {
		t.Errorf("a table far from the records: %v", err)
	}
	if parts, _ := l.asked(); len(parts) != 0 {
		t.Errorf("asked for %+v", parts)
	}
}

func TestABlobOfWhichMuchIsMissingIsFetchedWhole(t *testing.T) {
	t.Parallel()
	l := newLarge(t, 0, 40_000)
	needed := l.at[0].length() + l.d.Size - l.end
	for name, test := range map[string]struct {
		padding int64 // of the blob, in bytes
		want    error
	}{
		"little": {needed * 40 / 100, nil},
		"much":   {needed * 20 / 100, ErrWhole},
	} {
		src := &watched{blobBytes: slices.Concat(l.blobBytes[:l.at[0].to], make([]byte, test.padding), l.blobBytes[l.end:])}
		d, moved := l.d, l.at[0].to+test.padding
		table, err := position(l.d, tablePosition, tableKind)
		check(t, err)
		d.Size = int64(len(src.blobBytes))
		d.Annotations = map[string]string{
			tablePosition:   fmt.Sprintf("%d:%d:1:1", moved, table.length()),
			recordsPosition: fmt.Sprintf("%d:%d:1", moved+table.length(), d.Size-moved-table.length()),
		}
		a, err := Open(t.Context(), src, d, &Index{})
		if !errors.Is(err, test.want) {
			t.Errorf("%s more than what is needed: %v", name, err)
		}
		if parts, _ := src.asked(); err != nil && len(parts) != 1 {
			t.Errorf("%s: asked for %+v", name, parts)
		}
		if err == nil {
			check(t, a.Close())
		}
	}
}

// TestATableMayNotHaveTooMuch or the memory for it would be the blob's to choose.
func TestATableMayNotHaveTooMuch(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for i := range int64(maxFiles + 1) {
		if i > 0 {
			all.WriteByte(',')
		}
		fmt.Fprintf(&all, `{"type":"reg","size":1,"offset":%d,"endOffset":%d}`, i, i+1)
	}
	if _, err := parseTable(packed(t, tableOf(all.String())), math.MaxInt64); !errors.Is(err, ErrWhole) {
		t.Errorf("too many files: %v", err)
	}
	name := strings.Repeat("x", 2*maxEntry)
	for what, table := range map[string][]byte{
		"a long name":        tableOf(entry(name, 1, 0, 1)),
		"a long beginning":   []byte(`{"` + name + `":1,"entries":[]}`),
		"no end":             []byte(`{"entries":[` + entry("a", 1, 0, 1) + `,`),
		"a number as a name": []byte(`{"entries":[{"type":"reg","name":1,"size":1,"offset":0,"endOffset":1}]}`),
	} {
		if files, err := parseTable(packed(t, table), 100); err == nil {
			t.Errorf("%s: %d files", what, len(files))
		}
	}
	var wide bytes.Buffer
	z, err := zstd.NewWriter(&wide, zstd.WithWindowSize(2*maxWindow), zstd.WithSingleSegment(false))
	check(t, err)
	_, err = z.Write(noise("wide", 3*maxWindow))
	check(t, errors.Join(err, z.Close()))
	if _, err := parseTable(wide.Bytes(), 100); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("a window that takes much memory: %v", err)
	}
}

// TestOfABombOnlyTheFileIsTaken has a frame that is far longer than the file is said to be.
func TestOfABombOnlyTheFileIsTaken(t *testing.T) {
	t.Parallel()
	bomb := packed(t, append([]byte("data of two"), make([]byte, 64<<20)...))
	one := packed(t, []byte("data of one"))
	m := made{tableOf(entry("one", 11, 0, int64(len(one))) + "," +
		entry("two", 11, int64(len(one)), int64(len(one)+len(bomb)))), records(t, "one", "two")}
	src, d := m.blob(t)
	src = append(append(bytes.Clone(one), bomb...), src[len(one)+len(bomb):]...) // over the padding
	a, err := Open(t.Context(), src, d, &Index{})
	check(t, err)
	text, err := io.ReadAll(a)
	if err = errors.Join(err, a.Close()); err != nil || string(text) != "<one>data of one<two>data of two<end>" {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// TestAFrameWithLessThanTheFileIsAnError, and no shorter archive.
func TestAFrameWithLessThanTheFileIsAnError(t *testing.T) {
	t.Parallel()
	one, two := packed(t, []byte("data of one")), packed(t, []byte("data"))
	m := made{tableOf(entry("one", 11, 0, int64(len(one))) + "," +
		entry("two", 11, int64(len(one)), int64(len(one)+len(two)))), records(t, "one", "two")}
	src, d := m.blob(t)
	src = append(append(bytes.Clone(one), two...), src[len(one)+len(two):]...)
	a, err := Open(t.Context(), src, d, &Index{})
	check(t, err)
	if text, err := io.ReadAll(a); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", text, err)
	}
	check(t, a.Close())
}

// TestALayersFileThatIsAnotherNowIsNotTaken whatever somebody has put in its place.
func TestALayersFileThatIsAnotherNowIsNotTaken(t *testing.T) {
	t.Parallel()
	one := int64(len(packed(t, []byte("data of one"))))
	two := one + int64(len(packed(t, []byte("data of two"))))
	m := made{tableOf(entry("one", 11, 0, one) + "," + entry("two", 11, one, two)), records(t, "one", "two")}
	for name, replace := range map[string]func(path string) error{
		"gone":        func(string) error { return nil },
		"longer":      func(path string) error { return os.WriteFile(path, []byte("data of one!"), 0o600) },
		"shorter":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link":      func(path string) error { return os.Symlink("../one", path) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		src, d := m.blob(t)
		x := index(t, "one")
		path := filepath.Join(x.layers[0].Name(), "one")
		check(t, errors.Join(os.Remove(path), replace(path)))
		a, err := Open(t.Context(), src, d, x)
		check(t, err)
		text, err := io.ReadAll(a)
		if err == nil || errors.Is(err, ErrWhole) || string(text) != "<one>" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		check(t, a.Close())
	}
}

// TestDirectoriesOnTheWayToAFileAreNoLinks has a layer whose records say that a file lies beyond one.
func TestDirectoriesOnTheWayToAFileAreNoLinks(t *testing.T) {
	t.Parallel()
	x := index(t, "way/one")
	dir := x.layers[0].Name()
	check(t, os.Symlink("..", filepath.Join(dir, "way")))
	if f, err := x.open(place{0, "way/one"}, 11); err == nil {
		text, _ := io.ReadAll(f)
		t.Errorf("it gives %q", text)
		check(t, f.Close())
	}
}

func TestAnIndexHasTheFilesOfAllItsLayers(t *testing.T) {
	t.Parallel()
	x := &Index{}
	if !x.Empty() {
		t.Error("without layers it has files")
	}
	check(t, x.Close())
	for _, text := range []string{"", "not JSON", `{"type":9}`, `{"type":1,"name":"f","size":5,"payload":"AAA="}`,
		`{"type":1,"name":"f","size":0,"payload":"AAAAAAAAAAA="}`, `{"type":2,"size":5,"payload":"AAAAAAAAAAA="}`} {
		dir, err := fsys.OpenDir(t.TempDir())
		check(t, err)
		err = x.Add(dir, strings.NewReader(text))
		if (err != nil) != (text == "not JSON") || !x.Empty() {
			t.Errorf("%q: %v, empty %v", text, err, x.Empty())
		}
	}
	kept := x.layers[len(x.layers)-1]
	more := index(t, "one")
	check(t, more.Add(kept, bytes.NewReader(records(t, "two"))))
	x.layers = x.layers[:len(x.layers)-1]
	if more.Empty() || len(more.files) != 2 {
		t.Errorf("it has %v", more.files)
	}
	first := x.layers[0]
	check(t, errors.Join(x.Close(), more.Close(), more.Close()))
	if _, err := first.Stat(); !errors.Is(err, os.ErrClosed) || !more.Empty() {
		t.Errorf("after it was closed: %v, empty %v", err, more.Empty())
	}
}

func TestManyArchivesAreMadeOfOneIndexAtOnce(t *testing.T) {
	t.Parallel()
	one := int64(len(packed(t, []byte("data of one"))))
	two := one + int64(len(packed(t, []byte("data of two"))))
	m := made{tableOf(entry("one", 11, 0, one) + "," + entry("two", 11, one, two)), records(t, "one", "two")}
	src, d := m.blob(t)
	x := index(t, "one")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			a, err := Open(t.Context(), src, d, x)
			if err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(a)
			if err = errors.Join(err, a.Close()); err != nil || string(text) != "<one>data of one<two>data of two<end>" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	group.Wait()
}
