package copystep_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
)

// waitFor is what comes through a channel; a test that waits for too long fails.
func waitFor[T any](t *testing.T, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(10 * time.Minute):
		t.Fatal("nothing came in a minute")
	}
	return got
}

// huge makes a file that it would take hours to read, and no time to copy: it is all one hole.
func (b build) huge(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.context, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Truncate(filepath.Join(b.context, name), 8<<40); err != nil {
		t.Fatal(err)
	}
}

// told is work that tells where it is done.
type told struct {
	rootfs.Work
	dir chan string
}

func (w told) Exec(ctx context.Context, to *rootfs.Staged) error {
	dir, _ := to.Snap.Files()
	w.dir <- dir
	return w.Work.Exec(ctx, to)
}

func TestADigestThatTakesLongEndsWithTheBuild(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{})
	b.huge(t, "huge")
	w := told{b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"huge"}, Dest: "/d", Unpack: true}, noStep),
		make(chan string, 1)}
	ctx, cancel := context.WithCancelCause(t.Context())
	why, ended := errors.New("enough"), make(chan error, 1)
	go func() {
		_, _, err := b.roots.Make(ctx, &plan.Step{}, rootfs.Scratch(), w)
		ended <- errors.Join(err, b.roots.Wait()) // the layer isn't made either
	}()
	copied := filepath.Join(waitFor(t, w.dir), "d")
	for _, err := os.Lstat(copied); err != nil; _, err = os.Lstat(copied) {
		time.Sleep(time.Millisecond) // nothing tells of it
	}
	cancel(why)
	if err := waitFor(t, ended); !errors.Is(err, why) {
		t.Errorf("the step ends with %v", err)
	}
	key := make(chan error, 1)
	go func() {
		_, err := w.Keys()[0](ctx, "")
		key <- err
	}()
	if err := waitFor(t, key); !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("the key ends with %v", err)
	}
}

func TestADigestThatWasCancelledIsMadeForTheNextWhoAsks(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d"}
	w := b.Copy(&plan.Step{}, op, noStep)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Keys()[0](ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end there is a key, or %v", err)
	}
	if key(t, w) != key(t, b.Copy(&plan.Step{}, op, noStep)) {
		t.Error("the key is another one")
	}
}
