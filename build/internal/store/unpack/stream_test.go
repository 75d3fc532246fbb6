package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/internal/guard"
)

// TestAnArchiveThatIsCutIsNeverTakenForWhole cuts one at each of its blocks, in two ways.
func TestAnArchiveThatIsCutIsNeverTakenForWhole(t *testing.T) {
	t.Parallel()
	whole := archived(t, directoryOf("d", 0o755), file("d/a", strings.Repeat("a", 1300)), linked(tar.TypeLink, "b", "d/a"),
		with(file("c", "c"), "security.x", "y"))
	for size := 0; size < len(whole); size += 256 {
		for way, from := range map[string]io.Reader{
			"the end": bytes.NewReader(whole[:size]),
			"an error": io.MultiReader(bytes.NewReader(whole[:size]),
				iotest.ErrReader(errors.New("the cable is cut"))),
		} {
			u := begin(t, whole)
			_, err := Unpack(t.Context(), from, u.Options)
			if err == nil || errors.Is(err, ErrStrange) {
				t.Errorf("%s after %d of %d bytes: %v", way, size, len(whole), err)
			}
			if way == "an error" && !strings.Contains(err.Error(), "the cable is cut") {
				t.Errorf("after %d bytes the cause isn't told: %v", size, err)
			}
		}
	}
}

// TestBytesComeAsTheyLike has readers that give one byte at a time, or the end with the last bytes.
func TestBytesComeAsTheyLike(t *testing.T) {
	t.Parallel()
	archive := archived(t, file("a", strings.Repeat("a", 3000)), file("b", "b"))
	for name, slow := range map[string]func(io.Reader) io.Reader{
		"one by one": iotest.OneByteReader, "by halves": iotest.HalfReader, "the end with the data": iotest.DataErrReader,
	} {
		u := begin(t, archive)
		if res, err := Unpack(t.Context(), slow(bytes.NewReader(archive)), u.Options); err != nil ||
			res.Size != int64(len(archive)) {
			t.Errorf("%s: %d bytes, %v", name, res.Size, err)
		}
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("a bug") }

// TestAPanicEndsTheArchiveAlone has the goroutines of an archive panic.
func TestAPanicEndsTheArchiveAlone(t *testing.T) {
	t.Parallel()
	archive := archived(t, file("a", "a"))
	u := begin(t, archive)
	_, err := Unpack(t.Context(), io.MultiReader(bytes.NewReader(archive[:600]), panicking{}), u.Options)
	bug := new(guard.Panic)
	if !errors.As(err, &bug) || bug.Value != "a bug" {
		t.Errorf("reading: %v", err)
	}
	s := newStream(bytes.NewReader(archive), bytes.NewReader(archive), nil) // there is nothing to hash with
	if _, err := io.ReadAll(s); !errors.As(err, &bug) {
		t.Errorf("hashing: %v", err)
	}
	s.close()
}

func TestAnotherDigestIsTold(t *testing.T) {
	t.Parallel()
	archive := archived(t, file("a", "a"))
	u := begin(t, archive)
	u.DiffID = digest.FromString("another")
	_, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
	want := fmt.Sprintf("unpacked it has digest %s, the image's config says %s", digest.FromBytes(archive), u.DiffID)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	why := errors.New("the user has enough")
	archive := archived(t, file("a", "a"))
	u := begin(t, archive)
	if _, err := Unpack(cancelled(t, why), bytes.NewReader(archive), u.Options); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if all := look(t, u.Dir); len(all) > 0 {
		t.Errorf("it has %v", all)
	}
}

// stalling gives what it has, and then nothing until it is interrupted.
type stalling struct {
	io.Reader
	ctx context.Context //nolint:containedctx // io.Reader has no parameter for it
}

func (s stalling) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		<-s.ctx.Done()
		err = context.Cause(s.ctx)
	}
	return n, err
}

// TestAReaderThatWaitsIsInterrupted has one that stands still behind a member that is refused.
func TestAReaderThatWaitsIsInterrupted(t *testing.T) {
	t.Parallel()
	archive := append(archived(t, file("../evil", "")), make([]byte, 2*pieceSize)...)
	ctx, interrupt := context.WithCancel(t.Context())
	u := begin(t, archive)
	u.Interrupt = interrupt
	_, err := Unpack(t.Context(), stalling{bytes.NewReader(archive), ctx}, u.Options)
	if err == nil {
		t.Error("it was unpacked")
	}
	if ctx.Err() == nil {
		t.Error("the reader wasn't interrupted")
	}
}

func TestMemoryForTheDecompressionIsAskedForAndGivenBack(t *testing.T) {
	t.Parallel()
	archive := archived(t, file("a", "a"))
	u := begin(t, archive)
	var taken, given atomic.Int64
	u.Reserve = func(_ context.Context, memory int64) (func(), error) {
		taken.Add(memory + 1)
		return func() { given.Add(memory + 1) }, nil
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options); err != nil || taken.Load() == 0 ||
		taken.Load() != given.Load() {
		t.Errorf("%d taken, %d given back, %v", taken.Load(), given.Load(), err)
	}
	none := errors.New("there is none")
	u.Reserve = func(context.Context, int64) (func(), error) { return nil, none }
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options); !errors.Is(err, none) {
		t.Errorf("got %v", err)
	}
}

func TestACompressionThatIsNotTakenIsTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"xz":           {"\xfd7zXZ\x00", "it is compressed with xz, which images don't use"},
		"gzip's magic": {"\x1f\x8b\x08", "decompress: "},
		"text":         {strings.Repeat("text ", 200), "read its archive: "}, "nothing": {"", "it has digest"},
	} {
		u := begin(t, []byte("another"))
		if _, err := Unpack(t.Context(), strings.NewReader(test.text), u.Options); err == nil ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// bomb is an archive that is long and was short: it is made while it is read.
type bomb struct {
	part []byte
	left int
	rest []byte
}

func (b *bomb) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if b.left == 0 {
			return 0, io.EOF
		}
		b.left--
		b.rest = b.part
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// TestHeadersOfOneMemberAreBounded has an archive that only has headers of a long name, which are kept until the member
// comes.
func TestHeadersOfOneMemberAreBounded(t *testing.T) {
	t.Parallel()
	const size = 900 << 10
	part := archived(t, named("a", size))[:512+size]
	const want = "read its archive: a member has more than 16.78MB of headers"
	if _, err := Scan(&bomb{part: part, left: math.MaxInt}, ""); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("scanned: %v", err)
	}
	_, err := Unpack(t.Context(), &bomb{part: part, left: math.MaxInt}, begin(t, nil).Options)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("unpacked: %v", err)
	}
	// Data isn't counted, and each member has as much as the last.
	if _, _, err := unpacked(t, file("a", strings.Repeat("a", maxHeaders+1)), file("b", "b")); err != nil {
		t.Error(err)
	}
}

// TestWhatIsKeptToTheEndIsBounded has members of which much is kept, and others.
func TestWhatIsKeptToTheEndIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		m    member
		most int // how many there may be; 0: any number
	}{
		"a directory's name":       {directoryOf(long, 0o755), maxKept >> 20},
		"a hard link's target":     {linked(tar.TypeLink, "", long), maxKept >> 20},
		"a hard link's name":       {linked(tar.TypeLink, long, ""), maxKept >> 20},
		"a directory's attributes": {with(directoryOf("", 0o755), "user.a", long), maxKept>>20 - 1},
		"a file":                   {with(file(long, ""), "user.a", long), 0},
		"a symbolic link":          {linked(tar.TypeSymlink, long, long), 0},
		"another record": {member{tar.Header{Typeflag: tar.TypeDir, PAXRecords: map[string]string{"a": long}}, ""},
			0},
	} {
		a, err, count := newArchive(), error(nil), 0
		for ; err == nil && count < 2*maxKept>>20; count++ {
			err = a.keep(&test.m.Header)
		}
		switch {
		case test.most == 0 && err != nil, test.most > 0 && count-1 != test.most:
			t.Errorf("%s: %d, then %v", name, count-1, err)
		case test.most > 0 && err.Error() !=
			"its archive has more than 268.4MB of names and attributes of directories and hard links":
			t.Errorf("%s: %v", name, err)
		}
	}
	archive := archived(t, directoryOf("d", 0o755))
	a := newArchive()
	a.kept = maxKept
	err := a.members(bytes.NewReader(archive), func(*tar.Header, io.Reader) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "names and attributes") {
		t.Errorf("members: %v", err)
	}
}

// named is a file with a name that has a header of its own, of that many bytes.
func named(name string, size int) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name + strings.Repeat("n", size-1-len(name)),
		Format: tar.FormatGNU},
		""}
}

// TestPathsOfManyDirectoriesTakeNoTime has paths that would be looked at once for each of their parts.
func TestPathsOfManyDirectoriesTakeNoTime(t *testing.T) {
	t.Parallel()
	var members []member
	for i := range 2 {
		members = append(members, file(strings.Repeat("a/", 500<<10)+fmt.Sprint(i), ""))
	}
	if _, _, err := unpacked(t, append([]member{file(".wh.b", "")}, members...)...); err == nil ||
		!strings.Contains(err.Error(), "a path of 10240") {
		t.Errorf("got %v", err)
	}
	u, _, err := unpacked(t, file(".wh.b", ""), file(strings.Repeat("a/", maxName/2)+"x", "deep"))
	if err != nil {
		t.Errorf("the longest path: %v", err)
	}
	if err := os.RemoveAll(u.Dir); err != nil {
		t.Error(err)
	}
}

// TestNoMoreHardLinksWaitThanAreKept has a member at the end that ends it all: what was kept until then isn't made.
func TestNoMoreHardLinksWaitThanAreKept(t *testing.T) {
	t.Parallel()
	members := []member{file("first", "x")}
	for i := range maxLinks + 5 {
		members = append(members, linked(tar.TypeLink, fmt.Sprintf("%d/%d", i%7, i), "first"))
	}
	u, _, err := unpacked(t, members...)
	if all := look(t, u.Dir); err != nil || len(all) != len(members)+7 {
		t.Errorf("%d of %d, %v", len(all), len(members), err)
	}
	u, _, err = unpacked(t, append(members, member{tar.Header{Typeflag: tar.TypeCont, Name: "c"}, ""})...)
	if all := look(t, u.Dir); !errors.Is(err, ErrStrange) || len(all) != maxLinks+1+7 {
		t.Errorf("%d of %d, %v", len(all), maxLinks, err)
	}
}

// TestNothingIsLeftRunning looks for goroutines after archives that end in all sorts of ways.
func TestNothingIsLeftRunning(t *testing.T) {
	archive := archived(t, file("a", strings.Repeat("a", 10*pieceSize)))
	for name, from := range map[string]io.Reader{
		"whole": bytes.NewReader(archive), "cut": bytes.NewReader(archive[:5*pieceSize]),
		"an error": io.MultiReader(bytes.NewReader(archive[:3000]), iotest.ErrReader(errors.New("cut"))),
		"a panic":  io.MultiReader(bytes.NewReader(archive[:3000]), panicking{}),
		"refused":  bytes.NewReader(append(archived(t, file("../a", ""))[:1024], make([]byte, 20*pieceSize)...)),
	} {
		u := begin(t, archive)
		_, _ = Unpack(t.Context(), from, u.Options) // how it ends is the matter of other tests
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "unpack.(*stream)") {
				t.Errorf("%s: still running:\n%s", name, stack)
			}
		}
	}
}
