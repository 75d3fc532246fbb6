package uses_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

func layer(id string) uses.Thing { return uses.Thing{Kind: uses.Layers, Name: id} }

func note(t *testing.T, l *uses.Ledger, thing uses.Thing, change func(*uses.Entry)) {
	t.Helper()
	if err := l.WhileUsing(t.Context(), func() error { return l.Note(thing, change) }); err != nil {
		t.Fatal(err)
	}
}

// at sets a note's time of last use.
func at(t *testing.T, dir string, thing uses.Thing, when time.Time) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(dir, "uses", string(thing.Kind), thing.Name), when, when); err != nil {
		t.Fatal(err)
	}
}

func TestANoteKeepsWhatWasSaidBefore(t *testing.T) {
	t.Parallel()
	l := uses.New(t.TempDir())
	a := layer("a")
	if got := l.Read(a); got != (uses.Entry{}) || !l.LastUse(a).IsZero() {
		t.Errorf("a thing that was never used has the note %+v", got)
	}
	err := l.WhileUsing(t.Context(), func() error { return l.NoteMade(context.Background(), "a", 7, true) })
	if err != nil {
		t.Fatal(err)
	}
	note(t, l, a, nil)
	want := uses.Entry{Size: 7, Measured: true, Linked: true, Made: true}
	if diff := cmp.Diff(want, l.Read(a)); diff != "" {
		t.Errorf("note after another use (-want +got):\n%s", diff)
	}
	all, err := l.All(uses.Layers)
	if err != nil || len(all) != 1 || all["a"].Entry != want || time.Since(all["a"].Last) > time.Hour {
		t.Errorf("listed as %+v: %v", all, err)
	}
	if err := l.Forget(a, layer("b")); err != nil {
		t.Fatal(err)
	}
	if got := l.Read(a); got != (uses.Entry{}) {
		t.Errorf("forgotten, it has the note %+v", got)
	}
}

func TestNotesThatCannotBeReadTellNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	note(t, l, layer("a"), func(n *uses.Entry) { n.Label = "x" })
	for name, text := range map[string]string{"a": "{", "b": "[1]"} {
		if err := os.WriteFile(filepath.Join(dir, "uses/layers", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "uses/layers/link")); err != nil {
		t.Fatal(err)
	}
	all, err := l.All(uses.Layers)
	if err != nil || len(all) != 2 || all["a"].Entry != (uses.Entry{}) {
		t.Errorf("listed as %+v: %v", all, err)
	}
	if got := l.Read(layer("a")); got != (uses.Entry{}) {
		t.Errorf("read as %+v", got)
	}
}

func TestSavingASizeIsNoUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	a, old := layer("a"), time.Unix(1_000_000_000, 0)
	note(t, l, a, nil)
	at(t, dir, a, old)
	err := l.WhileDeciding(t.Context(), func() error {
		return errors.Join(
			l.Save(a, func(n *uses.Entry) { n.Size, n.Measured = 5, true }),
			l.Save(layer("b"), func(n *uses.Entry) { n.Size = 1 }),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Read(a); got.Size != 5 || !l.LastUse(a).Equal(old) {
		t.Errorf("%+v, last used %s", got, l.LastUse(a))
	}
	if got := l.LastUse(layer("b")); !got.IsZero() {
		t.Errorf("what was never used was last used %s", got)
	}
}

func TestWhatARunningBuildUsesIsNotFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	before, during := layer("before"), layer("during")
	note(t, l, before, nil)
	at(t, dir, before, time.Now().Add(-time.Minute))
	end, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Another process sees the same.
	other := uses.New(dir)
	note(t, l, during, nil)
	free := func() (got [2]bool) {
		t.Helper()
		err := other.WhileDeciding(t.Context(), func() (err error) {
			for i, thing := range []uses.Thing{before, during} {
				var freeErr error
				got[i], freeErr = other.Unused(thing)
				err = errors.Join(err, freeErr)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := free(); got != [2]bool{true, false} {
		t.Errorf("while the build runs, free: %v", got)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := free(); got != [2]bool{true, true} {
		t.Errorf("after the build, free: %v", got)
	}
}

func TestAUseIsNeverBeforeTheBuildThatUses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	end, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end() //nolint:errcheck // the directory goes
	oldest, err := l.OldestBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	note(t, l, layer("a"), nil)
	ahead := time.Now().Add(time.Hour).Truncate(time.Second)
	at(t, dir, layer("a"), ahead) // as if the clock had been set back since
	note(t, l, layer("a"), nil)
	if got := l.LastUse(layer("a")); got.Before(oldest) || !got.Equal(ahead) {
		t.Errorf("used %s, the build began %s", got, oldest)
	}
}

func TestABuildNotesAUseOnceAMinute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	end, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end() //nolint:errcheck // the directory goes
	note(t, l, layer("a"), nil)
	first := l.LastUse(layer("a"))
	if note(t, l, layer("a"), nil); !l.LastUse(layer("a")).Equal(first) {
		t.Error("the same use was noted twice")
	}
	note(t, l, layer("a"), func(e *uses.Entry) { e.Label = "a" })
	if got := l.Read(layer("a")); got.Label != "a" {
		t.Errorf("another entry was not noted: %+v", got)
	}
	before := first.Add(-time.Second) // of another build, before this one began
	at(t, dir, layer("a"), before)
	if note(t, l, layer("a"), nil); l.LastUse(layer("a")).Before(first) {
		t.Error("a use since the build began was not noted")
	}
}

func TestFilesOfDeadBuildsAreSweptOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	end, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "builds", "dead")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	called := 0
	sweep := func() {
		t.Helper()
		if err := l.SweepBuilds(func() error { called++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	err = l.WhileUsing(t.Context(), func() error { // somebody is at work: another time
		sweep()
		return nil
	})
	if _, statErr := os.Lstat(dead); err != nil || statErr != nil || called != 0 {
		t.Errorf("while something was used: called %d times, %v, %v", called, err, statErr)
	}
	sweep()
	sweep()
	if _, err := os.Lstat(dead); err == nil || called != 1 {
		t.Errorf("called %d times, %v", called, err)
	}
	if oldest, err := l.OldestBuild(t.Context()); err != nil || oldest.After(time.Now()) {
		t.Errorf("the build that runs isn't known any more: oldest %s, %v", oldest, err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func TestNotesOfWhatIsGoneAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := uses.New(dir)
	long := time.Now().Add(-time.Hour)
	for _, thing := range []uses.Thing{layer("there"), layer("gone"), layer("young"), {Kind: uses.Mounts, Name: "m.0"}} {
		note(t, l, thing, nil)
		if thing.Name != "young" {
			at(t, dir, thing, long)
		}
	}
	err := l.WhileDeciding(t.Context(), func() error {
		return l.Prune(time.Now().Add(-time.Minute), func(thing uses.Thing) bool { return thing.Name == "there" })
	})
	if err != nil {
		t.Fatal(err)
	}
	for thing, want := range map[uses.Thing]bool{
		layer("there"): true, layer("gone"): false, layer("young"): true, {Kind: uses.Mounts, Name: "m.0"}: false,
	} {
		if got := !l.LastUse(thing).IsZero(); got != want {
			t.Errorf("%s: note %v, want %v", thing.Name, got, want)
		}
	}
}

func TestLayersWithFilesOfOthersAreMeasuredAgain(t *testing.T) {
	t.Parallel()
	l := uses.New(t.TempDir())
	if err := l.Remeasure(t.Context()); err != nil { // there are none
		t.Fatal(err)
	}
	for id, linked := range map[string]bool{"alone": false, "linked": true} {
		if err := l.WhileUsing(t.Context(),
			func() error { return l.NoteMade(context.Background(), id, 5, linked) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Remeasure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alone, linked := l.Read(layer("alone")), l.Read(layer("linked")); !alone.Measured || linked.Measured {
		t.Errorf("alone %+v, linked %+v", alone, linked)
	}
}

func TestOneProcessRemoves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, other := uses.New(dir), uses.New(dir)
	unlock, err := l.LockRemoval(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Condemn([]string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.LockRemoval(t.Context(), false); !errors.Is(err, uses.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if err := l.Absolve("b"); err != nil || !other.Goes("a") || other.Goes("b") {
		t.Errorf("a goes: %v, b goes: %v, %v", other.Goes("a"), other.Goes("b"), err)
	}
	why := errors.New("the user wants no more")
	for name, wait := range map[string]func(context.Context) error{
		"the lock": func(ctx context.Context) error {
			_, err := other.LockRemoval(ctx, true)
			return err
		},
		"a layer": func(ctx context.Context) error { return other.AwaitRemoval(ctx, "a") },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := wait(ctx); !errors.Is(err, why) {
			t.Errorf("waiting for %s: got %v, want the context's cause", name, err)
		}
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	// Whoever has marked it isn't there any more.
	if err := other.AwaitRemoval(t.Context(), "a"); err != nil || other.Goes("a") {
		t.Errorf("a goes still: %v, %v", other.Goes("a"), err)
	}
}

func TestWaitingForDecisionsCanBeInterrupted(t *testing.T) {
	t.Parallel()
	l := uses.New(t.TempDir())
	why := errors.New("the user wants no more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := l.WhileDeciding(t.Context(), func() error {
		return l.WhileUsing(ctx, func() error { return nil })
	})
	if !errors.Is(err, why) {
		t.Errorf("got %v, want the context's cause", err)
	}
}
