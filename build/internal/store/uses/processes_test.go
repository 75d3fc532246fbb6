package uses_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// What another process of these tests does.
const (
	roleVariable = "USES_TEST_ROLE"
	builds       = "build"  // it begins a build
	removes      = "remove" // it removes the layer "a"
	notes        = "note"   // it notes 200 uses
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role, uses.New(os.Args[1])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play does what the role says, tells that on standard output, and stops when standard input ends.
func play(role string, l *uses.Ledger) (err error) {
	ctx := context.Background()
	var end func() error
	switch role {
	case builds:
		if end, err = l.Begin(ctx); err == nil {
			err = l.WhileUsing(ctx, func() error { return l.Note(layer("a"), nil) })
		}
	case removes:
		if end, err = l.LockRemoval(ctx, true); err == nil {
			err = l.WhileDeciding(ctx, func() error { return l.Condemn([]string{"a"}) })
		}
	case notes:
		for n := range 200 {
			err = errors.Join(err,
				l.WhileUsing(ctx, func() error { return l.NoteMade(context.Background(), "a", int64(n+1), false) }))
		}
		end = func() error { return nil }
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return end()
}

// process is another one.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
}

// start starts one, and waits until it has done what its role says.
func start(t *testing.T, role, dir string) process {
	t.Helper()
	p := process{t: t, cmd: exec.Command(os.Args[0], dir)}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), roleVariable+"="+role), os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the other process says %q: %v", line, err)
	}
	return p
}

// kill ends it at once; finish has it end by itself.
func (p process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

func (p process) finish() {
	p.t.Helper()
	if err := errors.Join(p.in.Close(), p.cmd.Wait()); err != nil {
		p.t.Error(err)
	}
}

// TestWhatABuildOfAnotherProcessUsesIsFreeWhenItHasEnded by itself or by a signal.
func TestWhatABuildOfAnotherProcessUsesIsFreeWhenItHasEnded(t *testing.T) {
	for name, end := range map[string]func(process){"ended": process.finish, "killed": process.kill} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := uses.New(dir)
			other := start(t, builds, dir)
			free := func() (free bool) {
				t.Helper()
				if err := l.WhileDeciding(t.Context(), func() (err error) {
					free, err = l.Unused(layer("a"))
					return err
				}); err != nil {
					t.Fatal(err)
				}
				return free
			}
			if free() {
				t.Error("a layer is free while another process builds on it")
			}
			if err := l.SweepBuilds(func() error { return errors.New("a live build counts as dead") }); err != nil {
				t.Error(err)
			}
			end(other)
			if !free() {
				t.Error("a layer is in use by a build that has ended")
			}
			if left, err := os.ReadDir(filepath.Join(dir, "builds")); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// TestARemovalOfAnotherProcessIsWaitedFor until it ends; what a killed one has marked is there again.
func TestARemovalOfAnotherProcessIsWaitedFor(t *testing.T) {
	for name, end := range map[string]func(process){"ended": process.finish, "killed": process.kill} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := uses.New(dir)
			other := start(t, removes, dir)
			if !l.Goes("a") || l.Goes("b") {
				t.Errorf("a goes: %v, b goes: %v", l.Goes("a"), l.Goes("b"))
			}
			if _, err := l.LockRemoval(t.Context(), false); !errors.Is(err, uses.ErrBusy) {
				t.Errorf("two remove at once: %v", err)
			}
			waited := make(chan error, 1)
			go func() { waited <- l.AwaitRemoval(t.Context(), "a") }()
			select {
			case err := <-waited:
				t.Fatalf("nobody waits for a removal: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			end(other)
			if err := <-waited; err != nil || l.Goes("a") {
				t.Errorf("a goes: %v, %v", l.Goes("a"), err)
			}
			unlock, err := l.LockRemoval(t.Context(), false)
			if err == nil {
				err = unlock()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestANoteIsWholeWhoeverWritesIt at the same time, and whenever its writer is killed.
func TestANoteIsWholeWhoeverWritesIt(t *testing.T) {
	dir := t.TempDir()
	l := uses.New(dir)
	note(t, l, layer("a"), func(n *uses.Entry) { n.Made, n.Size, n.Measured = true, 1, true })
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n := l.Read(layer("a")); !n.Made || n.Size < 1 || n.Size > 200 {
				t.Errorf("half a note: %+v", n)
				return
			}
		}
	})
	var writers sync.WaitGroup
	for range 2 {
		other := start(t, notes, dir)
		writers.Go(other.finish)
	}
	dying := exec.Command(os.Args[0], dir)
	dying.Env = append(os.Environ(), roleVariable+"="+notes)
	if err := dying.Start(); err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		note(t, l, layer("a"), func(e *uses.Entry) { e.Size = int64(n + 1) })
	}
	_ = dying.Process.Kill()
	_ = dying.Wait()
	writers.Wait()
	close(stop)
	readers.Wait()
	// What the killed one may have left is no note of a layer, and goes with the notes of what is gone.
	if err := l.WhileDeciding(t.Context(), func() error {
		return l.Prune(time.Now().Add(time.Hour), func(thing uses.Thing) bool { return thing == layer("a") })
	}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "uses", "layers")); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestTwoBuildsOfOneProcessEndByThemselves and each keeps what it has used.
func TestTwoBuildsOfOneProcessEndByThemselves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, other := uses.New(dir), uses.New(dir)
	first, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	note(t, l, layer("a"), nil)
	second, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began, err := other.OldestBuild(t.Context())
	if err != nil || began.After(time.Now()) {
		t.Fatalf("the oldest began at %s, %v", began, err)
	}
	if err := first(); err != nil {
		t.Fatal(err)
	}
	if left, err := other.OldestBuild(t.Context()); err != nil || left.Before(began) || left.After(time.Now()) {
		t.Errorf("the other began at %s, the first at %s, %v", left, began, err)
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if none, err := other.OldestBuild(t.Context()); err != nil || none.Before(time.Now()) {
		t.Errorf("none runs, and the oldest began at %s, %v", none, err)
	}
}

// TestACacheMountIsMadeOnce with the label that was said last, and locked by those who ask.
func TestACacheMountIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	for n, label := range []string{"go", "go build"} {
		path, lock, err := l.OpenMount(t.Context(), "key", "0", label)
		if err != nil {
			t.Fatal(err)
		}
		if path != filepath.Join(dir, "mounts", "key", "0") || lock.Name() != path+uses.LockSuffix {
			t.Errorf("%s, %s", path, lock.Name())
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
		kept := filepath.Join(path, strconv.Itoa(n))
		if err := os.WriteFile(kept, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := l.Read(uses.Thing{Kind: uses.Mounts, Name: "key.0"}); got != (uses.Entry{Label: label, Changing: true}) {
			t.Errorf("the note is %+v", got)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "mounts", "key", "0")); err != nil || len(files) != 2 {
		t.Errorf("the mount has %v, %v", files, err)
	}
	// A file is in its way.
	if err := os.WriteFile(filepath.Join(dir, "mounts", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, lock, err := l.OpenMount(t.Context(), "file", "0", ""); err == nil || lock != nil {
		t.Errorf("%v, %v", lock, err)
	}
}
