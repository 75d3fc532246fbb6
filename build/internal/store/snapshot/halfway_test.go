package snapshot_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
)

// halfwayStore tells a process to begin a layer: how far, in which store, with which driver and options, one a line.
const halfwayStore = "SNAPSHOT_TEST_HALFWAY"

// How far a process goes that is killed.
const (
	prepared  = "prepared"
	written   = "written"
	read      = "read"
	committed = "committed"
)

// stopHalfway goes as far as it is told, says so on standard output, and waits to be killed.
func stopHalfway() bool {
	text, ok := os.LookupEnv(halfwayStore)
	if !ok {
		return false
	}
	words := strings.Split(text, "\n")
	o := store.Options{Root: words[1], Driver: words[2], Portable: words[3] == "portable", DriverOptions: words[4:]}
	if err := goHalfway(context.Background(), o, words[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("halfway")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

func goHalfway(ctx context.Context, o store.Options, far string) error {
	st, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	s, err := snapshot.New(st).Prepare(ctx, snapshot.Layers(nil))
	if err != nil || far == prepared {
		return err
	}
	dir, _ := s.Files()
	if err := put(dir, "left", 1, 2); err != nil || far == written {
		return err
	}
	if _, err := s.Read(ctx, snapshot.ReadOptions{}); err != nil || far == read {
		return err
	}
	_, err = s.Commit(ctx, "")
	return err
}

// TestWhatAKilledBuildHasBegunGoesAndWhatItHasMadeStays kills it at each step, in each kind of store. The next one
// finds nothing of it but the layer, which is whole, and makes the same one otherwise.
func TestWhatAKilledBuildHasBegunGoesAndWhatItHasMadeStays(t *testing.T) {
	t.Parallel()
	for _, k := range kinds(t) {
		if k.elsewhere {
			continue
		}
		for _, far := range []string{prepared, written, read, committed} {
			t.Run(k.name+", "+far, func(t *testing.T) {
				t.Parallel()
				o := k.o
				o.Root = t.TempDir()
				killHalfway(t, o, far)
				b := newBench(t, o)
				b.nothingOf(far)
				fill := func(root string) { b.must(put(root, "left", 1, 2)) }
				l := b.add(nil, fill)
				if diff := cmp.Diff([]string{"left 1:2"}, b.entries(l[0])); diff != "" {
					t.Error(diff)
				}
				upper := b.add(l, func(root string) { b.must(os.Remove(filepath.Join(root, "left"))) })
				if diff := cmp.Diff([]string{".wh.left 0:0"}, b.entries(upper[1])); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// killHalfway has another process begin a layer, and kills it.
func killHalfway(t *testing.T, o store.Options, far string) {
	t.Helper()
	portable := ""
	if o.Portable {
		portable = "portable"
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), halfwayStore+"="+
		strings.Join(append([]string{far, o.Root, o.Driver, portable}, o.DriverOptions...), "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // it stays open: the process waits
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Errorf("it says %q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// nothingOf fails if a store that was opened has anything of a killed build, but for a layer that it has committed.
func (b bench) nothingOf(far string) {
	b.t.Helper()
	var left []string
	err := filepath.WalkDir(b.st.Paths().Root, func(path string, _ os.DirEntry, err error) error {
		in := filepath.Dir(path)
		if filepath.Base(path) == "left" && far != committed || in == filepath.Join(b.st.Paths().Own, "tmp") {
			left = append(left, path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil || len(left) > 0 {
		b.t.Errorf("left: %q, %v", left, err)
	}
}

// TestTwoBuildsThatCommitTheSameLayerGetTheSame one makes it, and the files of none stay behind.
func TestTwoBuildsThatCommitTheSameLayerGetTheSame(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		const many = 4
		rooms := make([]*snapshot.Room, many)
		ids := make(chan string, many)
		for n := range rooms {
			rooms[n] = snapshot.New(b.st)
			go func() {
				l, err := commitSame(t.Context(), rooms[n], base)
				if err != nil {
					t.Error(err)
				}
				ids <- l.ID
			}()
		}
		first := <-ids
		for range many - 1 {
			if id := <-ids; id != first {
				t.Errorf("the layer is %s and %s", first, id)
			}
		}
		for _, r := range rooms {
			b.must(r.Close())
		}
		b.must(b.room.Close())
		if left, err := filepath.Glob(filepath.Join(b.st.Paths().Own, "tmp", "*")); err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
		l, err := b.st.Layer(first)
		b.must(err)
		if diff := cmp.Diff([]string{"same 3:4"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
	})
}

func commitSame(ctx context.Context, room *snapshot.Room, base []store.Layer) (l store.Layer, err error) {
	s, err := room.Prepare(ctx, on(base))
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, s.Remove()) }()
	dir, _ := s.Files()
	if err := put(dir, "same", 3, 4); err != nil {
		return l, err
	}
	if _, err := s.Read(ctx, snapshot.ReadOptions{}); err != nil {
		return l, err
	}
	return s.Commit(ctx, top(base))
}

// TestASnapshotIsCommittedOnlyAsItWasRead not before, and not where the layer below has gone.
func TestASnapshotIsCommittedOnlyAsItWasRead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, _ []store.Layer) {
		early := b.prepare(snapshot.Layers(nil))
		if l, err := early.Commit(t.Context(), ""); err == nil ||
			!strings.Contains(err.Error(), "its digests have not been made") {
			t.Errorf("before it was read it is %+v, %v", l, err)
		}
		gone := strings.Repeat("0", 64)
		late := b.prepare(snapshot.Layers(nil))
		b.run(late, snapshot.NS{}, func(root string) { b.must(put(root, "f", 0, 0)) })
		_, err := late.Read(t.Context(), snapshot.ReadOptions{})
		b.must(err)
		if l, err := late.Commit(t.Context(), gone); err == nil {
			t.Errorf("on a layer that is gone it is %+v", l)
		}
		b.must(early.Remove(), late.Remove(), b.room.Close())
		if left, err := filepath.Glob(filepath.Join(b.st.Paths().Own, "tmp", "*")); err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	})
}

// TestAnInterruptedReadLeavesTheSnapshotToBeRemoved and tells the cause.
func TestAnInterruptedReadLeavesTheSnapshotToBeRemoved(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		b.run(s, snapshot.NS{}, func(root string) {
			for n := range 50 {
				b.must(put(root, fmt.Sprintf("f%d", n), 0, 0))
			}
		})
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if res, err := s.Read(ctx, snapshot.ReadOptions{}); !errors.Is(err, why) {
			t.Errorf("%+v, %v", res, err)
		}
		b.must(s.Remove())
	})
}
