package source

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

func TestDigestTakesWhatIsKnown(t *testing.T) {
	large := strings.Repeat("x", 1000)
	root := tree(t, "large="+large, "small=text", "d/other="+large)
	o := DigestOptions{Root: openRoot(t, root), Query: Query{Patterns: []string{"."}}}
	want, err := Digest(context.Background(), o)
	check(t, err)

	o.SkipFrom, o.Known = 1000, new(Known)
	o.Cache = OpenStatCache(filepath.Join(t.TempDir(), "stat"))
	if got, err := Digest(context.Background(), o); !errors.Is(err, ErrSkipped) {
		t.Fatalf("with large files left out: %q, %v", got, err)
	}
	for _, name := range []string{"large", "d/other"} {
		var st unix.Stat_t
		check(t, unix.Lstat(filepath.Join(root, name), &st))
		o.Known.Add(&st, blake3.Sum256([]byte(large)), time.Now())
	}
	got, err := Digest(context.Background(), o)
	check(t, err)
	if got != want {
		t.Errorf("with known digests %s, by reading %s", got, want)
	}

	// What is known is taken, not checked; a file that has changed since isn't known.
	var st unix.Stat_t
	check(t, unix.Lstat(filepath.Join(root, "large"), &st))
	o.Known.Add(&st, [32]byte{1}, time.Now())
	if got, err = Digest(context.Background(), o); err != nil || got == want {
		t.Errorf("with another digest: %s, %v", got, err)
	}
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, "large"), []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0))
	o.SkipFrom = 0
	if got, err = Digest(context.Background(), o); err != nil || got != want {
		t.Errorf("after a change of times: %s, %v, want %s", got, err, want)
	}
}
