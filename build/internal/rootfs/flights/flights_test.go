package flights_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/flights"
)

// holder is the variable that makes the test binary a build that holds a step until its standard input ends.
const holder = "FLIGHTS_TEST_HOLDS"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holder); dir != "" {
		c, err := cache.Open(dir)
		if err == nil {
			_, _, err = flights.New(c).Begin(context.Background(), step("chain", "key"))
		}
		if err != nil {
			println(err.Error())
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("ready\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// step is one whose key is known.
func step(chain, key string) flights.Step {
	return flights.Step{
		Chain: chain, Ready: func() bool { return true }, Waits: func() {},
		Key: func(context.Context) (cache.Key, error) { return cache.NewKey("test").Add(key).Key(), nil },
	}
}

// later is a step whose key is known when the channel is closed.
func later(s flights.Step, known <-chan struct{}) flights.Step {
	key := s.Key
	s.Ready = func() bool { return false }
	s.Key = func(ctx context.Context) (cache.Key, error) {
		select {
		case <-known:
			return key(ctx)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return s
}

// rooms are those of several builds with one store, whose directory of flights has the path.
func rooms(t *testing.T, n int) (all []*flights.Room, path string) {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(c.Flights()); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	for range n {
		all = append(all, flights.New(c))
	}
	return all, c.Flights()
}

func begin(t *testing.T, r *flights.Room, s flights.Step) (end func()) {
	t.Helper()
	f, another, err := r.Begin(t.Context(), s)
	if err != nil || another {
		t.Fatalf("the step waits: %v, %v", another, err)
	}
	return f.End
}

func TestEqualStepsWaitForEachOther(t *testing.T) {
	t.Parallel()
	r, _ := rooms(t, 2)
	known := make(chan struct{})
	close(known)
	for name, c := range map[string]struct{ first, second flights.Step }{
		"both know their keys":           {step("a", "1"), step("a", "1")},
		"the first finds it out later":   {later(step("b", "2"), known), step("b", "2")},
		"the second finds it out later":  {step("c", "3"), later(step("c", "3"), known)},
		"both find it out":               {later(step("d", "4"), known), later(step("d", "4"), known)},
		"after other steps, same result": {step("e", "5"), step("f", "5")},
	} {
		end := begin(t, r[0], c.first)
		waits, began := make(chan struct{}), make(chan bool)
		c.second.Waits = func() { close(waits) }
		go func() {
			f, another, err := r[1].Begin(t.Context(), c.second)
			f.End()
			began <- another && err == nil
		}()
		<-waits
		select {
		case <-began:
			t.Errorf("%s: the second doesn't wait", name)
		default:
		}
		end()
		if !<-began {
			t.Errorf("%s: the second isn't told of the first", name)
		}
	}
}

func TestOtherStepsDontWait(t *testing.T) {
	t.Parallel()
	r, _ := rooms(t, 4)
	known, unknown := make(chan struct{}), make(chan struct{})
	close(known)
	alone := step("same", "1")
	alone.Alone = true
	lonely := later(step("same", "1"), unknown)
	lonely.Alone = true
	for name, c := range map[string]flights.Step{
		"another key":                 step("same", "2"),
		"another key, found out":      later(step("same", "2"), known),
		"another chain":               step("other", "2"),
		"the same, run anew":          alone,
		"the same, key never learned": lonely,
	} {
		first := begin(t, r[0], step("same", "1"))
		second := begin(t, r[1], c)
		second()
		first()
		t.Log(name)
	}
}

// TestWhoDoesntKnowItsKeyKeepsOthersNoLongerThanThat waits for the second to begin while the first is still at it.
func TestWhoDoesntKnowItsKeyKeepsOthersNoLongerThanThat(t *testing.T) {
	t.Parallel()
	r, _ := rooms(t, 2)
	known := make(chan struct{})
	first := begin(t, r[0], later(step("same", "1"), known))
	began := make(chan func())
	go func() {
		f, another, err := r[1].Begin(t.Context(), step("same", "2"))
		if err != nil || another {
			t.Errorf("%v, %v", another, err)
		}
		began <- f.End
	}()
	close(known)
	(<-began)()
	first()
}

func TestAWaitCanBeStopped(t *testing.T) {
	t.Parallel()
	r, _ := rooms(t, 2)
	stopped := errors.New("stopped by the user")
	unknown := make(chan struct{})
	for name, first := range map[string]flights.Step{
		"for a result": step("a", "1"), "for a key": later(step("a", "1"), unknown),
	} {
		end := begin(t, r[0], first)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stopped)
		if f, _, err := r[1].Begin(ctx, step("a", "1")); !errors.Is(err, stopped) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
		end()
	}
	bad := step("a", "1")
	bad.Key = func(context.Context) (cache.Key, error) { return "", stopped }
	if _, _, err := r[0].Begin(t.Context(), bad); !errors.Is(err, stopped) {
		t.Errorf("the error of the key becomes %v", err)
	}
}

func TestAKilledBuildIsFollowedByWhoWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), exe)
	other.Env = append(os.Environ(), holder+"="+dir)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	s := step("chain", "key")
	s.Waits = func() {
		if err := other.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	f, another, err := flights.New(c).Begin(t.Context(), s)
	if err != nil || !another {
		t.Errorf("%v, %v", another, err)
	}
	_ = other.Wait()
	f.End()
	if left, err := os.ReadDir(c.Flights()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhatKilledBuildsLeftIsRemoved(t *testing.T) {
	t.Parallel()
	r, path := rooms(t, 2)
	first := begin(t, r[0], step("a", "1"))
	for _, name := range []string{"key-left", "chain-left"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin(t, r[1], step("b", "2"))()
	left, err := os.ReadDir(path)
	if err != nil || len(left) != 2 { // those of the first
		t.Errorf("there are %v, %v", left, err)
	}
	first()
}

func TestWithoutLocksStepsBeginAtOnce(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Flights(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first := begin(t, flights.New(c), step("a", "1"))
	begin(t, flights.New(c), step("a", "1"))()
	first()
}

func TestOfManyOneAtATimeIsAtAStep(t *testing.T) {
	t.Parallel()
	r, _ := rooms(t, 8)
	known := make(chan struct{})
	close(known)
	var inside, first atomic.Int32
	var builds sync.WaitGroup
	for i := range r {
		builds.Go(func() {
			s := step("same", "1")
			if i%2 == 0 {
				s = later(s, known)
			}
			f, another, err := r[i].Begin(t.Context(), s)
			if err != nil || inside.Add(1) != 1 {
				t.Errorf("two are at it, %v", err)
			}
			if !another {
				first.Add(1)
			}
			inside.Add(-1)
			f.End()
		})
	}
	builds.Wait()
	if first.Load() == 0 {
		t.Error("all wait")
	}
}

func TestNothingIsDoneAtNoStep(*testing.T) {
	var f *flights.Flight
	f.End()
}
