package runstep_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/userns"
)

// withContext is the build with another context, which has these files. A name that ends in / is a directory.
func (b build) withContext(t *testing.T, files map[string]string) build {
	t.Helper()
	b.context = t.TempDir()
	b.write(t, "Dockerfile", "FROM scratch\n")
	for name, text := range files {
		dir, _ := filepath.Split(b.context + "/" + name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			b.write(t, name, text)
		}
	}
	b.contexts = inputs.New(inputs.Options{
		Context: b.context, Progress: progress.Discard{}, Shown: progress.NewAsides(progress.Discard{}),
	}, b.roots.Store)
	if _, err := b.contexts.ReadMain(t.Context()); err != nil {
		t.Fatal(err)
	}
	contexts := b.contexts
	t.Cleanup(func() {
		if err := contexts.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// do is the root that a step makes.
func (b build) do(t *testing.T, r *runstep.Room, below *rootfs.Root, op *plan.Run) *rootfs.Root {
	t.Helper()
	return b.make(t, below, r.Work(&plan.Step{}, op, noStep))
}

// out is what a step writes to /out.
func (b build) out(t *testing.T, r *runstep.Room, below *rootfs.Root, op *plan.Run) string {
	t.Helper()
	return b.read(t, b.do(t, r, below, op), "out")
}

// fail is the error of a step that must not succeed.
func (b build) fail(t *testing.T, r *runstep.Room, below *rootfs.Root, op *plan.Run) string {
	t.Helper()
	_, _, err := b.roots.Make(t.Context(), &plan.Step{}, below, r.Work(&plan.Step{}, op, noStep))
	if err == nil {
		t.Fatalf("%q succeeded", op.Args)
	}
	return err.Error()
}

// storeRoot is the directory of the build's store.
func (b build) storeRoot() string { return filepath.Dir(filepath.Dir(b.roots.Store.Paths().Stats())) }

// mountDirs are the directories of the store's cache mounts.
func (b build) mountDirs(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(b.storeRoot(), "*", "mounts", "*", "[0-9]"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// events remembers what a build emits.
type events struct {
	mu    sync.Mutex
	notes []string
	// noted, if not nil, gets each note.
	noted chan string
}

func (e *events) Emit(event progress.Event) {
	n, ok := event.(progress.Note)
	if !ok {
		return
	}
	e.mu.Lock()
	e.notes = append(e.notes, n.Text)
	e.mu.Unlock()
	if e.noted != nil {
		e.noted <- n.Text
	}
}

func (e *events) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.notes, "\n")
}

// mapped has steps in a namespace of their own, whose root is another ID on the host.
func (b *build) mapped(t *testing.T) userns.Mapping {
	t.Helper()
	one := userns.Map{{Container: 0, Host: 200000, Length: 65536}}
	m := userns.Mapping{UIDs: one, GIDs: one}
	b.as(t, rootfs.Identity{StepNS: rootfs.StepNS{Steps: &m, Asked: true}})
	return m
}

// as goes on in the same store as somebody else.
func (b *build) as(t *testing.T, identity rootfs.Identity) {
	t.Helper()
	o := b.roots.Options
	o.Identity = identity
	roots := rootfs.New(o)
	t.Cleanup(func() {
		if err := errors.Join(roots.Wait(), roots.Close()); err != nil {
			t.Error(err)
		}
	})
	b.roots = roots
}

func owner(t *testing.T, path string) (uid, gid, mode uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return st.Uid, st.Gid, st.Mode & 0o7777
}

// waitFor is what comes through a channel; a test that waits for too long fails.
func waitFor[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(10 * time.Minute):
		t.Fatal("nothing came in a minute")
	}
	panic("not reached")
}

// nestedIDs map a few IDs, but not to themselves.
func nestedIDs() userns.Mapping {
	ids := userns.Map{{Container: 0, Host: 1, Length: 1000}}
	return userns.Mapping{UIDs: ids, GIDs: ids}
}

func withCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}

// openPipe opens a pipe for writing that a step makes and reads from, and so waits for the step.
func openPipe(t *testing.T, path string, ended <-chan error) *os.File {
	t.Helper()
	for {
		pipe, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			t.Cleanup(func() { _ = pipe.Close() })
			return pipe
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENXIO) {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatal("the step has ended", err)
		case <-time.After(time.Millisecond): // nothing tells of a reader
		}
	}
}
