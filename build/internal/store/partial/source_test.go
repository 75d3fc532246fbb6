package partial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/internal/tarsplit"
)

// watched is a blob that notes what it is asked for.
type watched struct {
	blobBytes
	// refuse, if it is not nil, is called before a part is given. It is told how many are under way.
	refuse func(ctx context.Context, part span, under int) error
	// body changes what is read of a part; nil: nothing does.
	body func(io.Reader) io.Reader

	mu    sync.Mutex
	parts []span
	under int
	open  int
}

func (w *watched) FetchPart(ctx context.Context, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	part := span{offset, offset + length}
	w.mu.Lock()
	w.parts = append(w.parts, part)
	w.under++
	under := w.under
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.under--
	}()
	if w.refuse != nil {
		if err := w.refuse(ctx, part, under); err != nil {
			return nil, err
		}
	}
	rc, err := w.blobBytes.FetchPart(ctx, d, offset, length)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	if w.body != nil {
		return &given{w, w.body(rc)}, nil
	}
	return &given{w, rc}, nil
}

// given is a part that is being read.
type given struct {
	from *watched
	io.Reader
}

func (g *given) Close() error {
	g.from.mu.Lock()
	defer g.from.mu.Unlock()
	g.from.open--
	return nil
}

// asked are the parts in the order of the blob, and how many of them nobody has closed.
func (w *watched) asked() (parts []span, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	parts = slices.Clone(w.parts)
	slices.SortFunc(parts, func(a, b span) int { return int(a.from - b.from) })
	return parts, w.open
}

// noise is data that can't be compressed, the same for the same name.
func noise(name string, size int) []byte {
	text := make([]byte, size)
	r := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", name))))
	_, _ = r.Read(text)
	return text
}

// large is a blob of files of noise, with gaps between them that belong to nothing, and room that nobody needs.
type large struct {
	*watched
	d ocispec.Descriptor
	// at is where each file lies, end where the table begins, archive what the blob is a part of.
	at      []span
	end     int64
	archive []byte
}

func newLarge(t *testing.T, gap int, sizes ...int) large {
	t.Helper()
	var l large
	var blob, records bytes.Buffer
	var entries []string
	w := tarsplit.NewWriter(&records)
	for i, size := range sizes {
		name := fmt.Sprintf("f%d", i)
		text := noise(name, size)
		from := int64(blob.Len())
		blob.Write(packed(t, text))
		l.at = append(l.at, span{from, int64(blob.Len())})
		blob.Write(make([]byte, gap))
		entries = append(entries, entry(name, size, from, l.at[i].to))
		w.Frame([]byte("<" + name + ">"))
		check(t, errors.Join(w.Segment(), w.File([]byte(name), int64(size), tarsplit.CRC(0, text))))
		l.archive = append(append(l.archive, "<"+name+">"...), text...)
	}
	check(t, w.Close())
	blob.Write(make([]byte, blob.Len()+100<<10))
	l.end = int64(blob.Len())
	table, recs := tableOf(strings.Join(entries, ",")), records.Bytes()
	packedTable, packedRecords := packed(t, table), packed(t, recs)
	blob.Write(packedTable)
	blob.Write(packedRecords)
	l.watched = &watched{blobBytes: blob.Bytes()}
	l.d = ocispec.Descriptor{Size: int64(blob.Len()), Digest: digest.FromBytes(blob.Bytes()),
		Annotations: map[string]string{
			tablePosition:   fmt.Sprintf("%d:%d:%d:1", l.end, len(packedTable), len(table)),
			recordsPosition: fmt.Sprintf("%d:%d:%d", l.end+int64(len(packedTable)), len(packedRecords), len(recs)),
		}}
	return l
}

// read opens the archive and reads it to its end.
func (l large) read(ctx context.Context, x *Index) (a *Archive, text []byte, err error) {
	if a, err = Open(ctx, l, l.d, x); err != nil {
		return nil, nil, err
	}
	text, err = io.ReadAll(a)
	return a, text, errors.Join(err, a.Close())
}

func TestFilesThatLieNearEachOtherComeTogether(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		gap, requests int
	}{
		"next to each other": {0, 1},
		"near":               {maxGap, 1},
		"far":                {maxGap + 1, 3},
	} {
		l := newLarge(t, test.gap, 1000, 2000, 3000)
		a, text, err := l.read(t.Context(), &Index{})
		parts, open := l.asked()
		if err != nil || !bytes.Equal(text, l.archive) || len(parts) != test.requests+1 || open != 0 {
			t.Errorf("%s: %d requests, %d open, %v", name, len(parts), open, err)
			continue
		}
		var sum int64
		for _, p := range parts {
			sum += p.length()
		}
		if sum != a.Fetched || sum >= l.d.Size {
			t.Errorf("%s: %d bytes of %d came, %d were announced", name, sum, l.d.Size, a.Fetched)
		}
	}
}

// TestALargeFileComesInPieces of which few are under way, though the first one comes last.
func TestALargeFileComesInPieces(t *testing.T) {
	t.Parallel()
	l := newLarge(t, 0, 6*pieceSize)
	var most int
	later, given, early, yields := make(chan struct{}), make(chan struct{}), make(chan span, 1), 0
	l.refuse = func(ctx context.Context, part span, under int) error {
		l.mu.Lock()
		most = max(most, under)
		l.mu.Unlock()
		switch part.from {
		case 0:
			for <-later; len(early) == 0 && yields < 1000; yields++ { // others that may not come yet have the time to
				runtime.Gosched()
			}
			close(given)
		case (width - 1) * pieceSize:
			close(later)
		case width * pieceSize:
			select {
			case <-given:
			default:
				early <- part
			}
		}
		return ctx.Err()
	}
	_, text, err := l.read(t.Context(), &Index{})
	parts, open := l.asked()
	if err != nil || !bytes.Equal(text, l.archive) || len(parts) < 7 || open != 0 || most > width {
		t.Fatalf("%d requests, %d at once, %d open: %v", len(parts), most, open, err)
	}
	if len(early) > 0 {
		t.Errorf("%+v was asked for before the first piece came", <-early)
	}
	for i, p := range parts {
		if p.length() > pieceSize || i > 0 && p.from < parts[i-1].to {
			t.Errorf("request %d is for %+v", i, p)
		}
	}
}

// TestWhatASourceGivesWrongEndsTheArchive at the table or at the data of a file.
func TestWhatASourceGivesWrongEndsTheArchive(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	half := func(r io.Reader) io.Reader { return io.LimitReader(r, 10) }
	for name, test := range map[string]struct {
		refuse func(l large) func(context.Context, span, int) error
		body   func(io.Reader) io.Reader
		want   error
		text   string
	}{
		"no table": {refuse: func(l large) func(context.Context, span, int) error {
			return func(_ context.Context, p span, _ int) error {
				if p.from == l.end {
					return broken
				}
				return nil
			}
		}, want: broken},
		"no data": {refuse: func(l large) func(context.Context, span, int) error {
			return func(_ context.Context, p span, _ int) error {
				if p.from < l.end {
					return broken
				}
				return nil
			}
		}, want: broken},
		"a panic": {refuse: func(l large) func(context.Context, span, int) error {
			return func(_ context.Context, p span, _ int) error {
				if p.from < l.end {
					panic("a fault of the source")
				}
				return nil
			}
		}, text: "internal error in "},
		"too few bytes": {body: half, want: io.ErrUnexpectedEOF},
		"other bytes": {body: func(io.Reader) io.Reader { return strings.NewReader(strings.Repeat("x", 1<<20)) },
			text: "table"},
	} {
		l := newLarge(t, 0, 5000, 5000)
		l.body = test.body
		if test.refuse != nil {
			l.refuse = test.refuse(l)
		}
		_, text, err := l.read(t.Context(), &Index{})
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		if _, open := l.asked(); open != 0 {
			t.Errorf("%s: %d parts are still open", name, open)
		}
	}
}

func TestACancelledBuildEndsTheArchive(t *testing.T) {
	t.Parallel()
	l := newLarge(t, 0, 3*pieceSize)
	ctx, cancel := context.WithCancel(t.Context())
	l.refuse = func(ctx context.Context, p span, _ int) error {
		if p.from >= l.end {
			return nil
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	if _, text, err := l.read(ctx, &Index{}); !errors.Is(err, context.Canceled) || len(text) > len("<f0>") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if l.under != 0 {
		t.Errorf("%d requests are under way when the archive is closed", l.under)
	}
	l.refuse = nil
	if _, err := Open(ctx, failing{}, l.d, &Index{}); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is cancelled before: %v", err)
	}
}

// failing is a source that heeds its context and no more.
type failing struct{}

func (failing) FetchPart(ctx context.Context, _ ocispec.Descriptor, _, _ int64) (io.ReadCloser, error) {
	return nil, ctx.Err()
}
