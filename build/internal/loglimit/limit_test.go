package loglimit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// clip is Clip with a clock that the test turns.
func clip(l Limit, stdout, stderr io.Writer) (out, err clippedStream, now *time.Time) {
	o, e := l.Clip(stdout, stderr)
	out, err, now = o.(clippedStream), e.(clippedStream), new(time.Time)
	*now = time.Unix(1, 0)
	out.now = func() time.Time { return *now }
	return out, err, now
}

// say writes to a stream that must take all of it.
func say(t *testing.T, to io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(to, text); n != len(text) || err != nil {
		t.Errorf("%d of %d bytes are taken: %v", n, len(text), err)
	}
}

func TestWithoutALimitTheStreamsAreTheStepsOwn(t *testing.T) {
	t.Parallel()
	var a, b bytes.Buffer
	if out, err := (Limit{}).Clip(&a, &b); out != &a || err != &b {
		t.Error("something stands between")
	}
}

func TestTheTwoStreamsShareTheSizeAndTheEndIsSaidOnce(t *testing.T) {
	t.Parallel()
	var a, b bytes.Buffer
	out, err, _ := clip(Limit{Size: 10}, &a, &b)
	say(t, out, "123456")
	say(t, err, "7890")
	say(t, out, "")
	say(t, err, "abc")
	say(t, out, "def")
	if a.String() != "123456" || b.String() != "7890\n[output clipped, log limit 10B reached]\n" {
		t.Errorf("%q, %q", &a, &b)
	}
}

func TestAPieceThatIsTooLongIsCut(t *testing.T) {
	t.Parallel()
	var a bytes.Buffer
	out, _, _ := clip(Limit{Size: 4, Speed: 1000}, &a, io.Discard)
	say(t, out, "abcdef")
	if want := "abcd\n[output clipped, log limit 4B reached]\n"; a.String() != want {
		t.Errorf("%q, want %q", &a, want)
	}
}

func TestWhatComesTooFastIsLeftOutUntilTimeHasPassed(t *testing.T) {
	t.Parallel()
	var a bytes.Buffer
	out, _, now := clip(Limit{Speed: 10}, &a, io.Discard)
	say(t, out, strings.Repeat("a", 10))
	say(t, out, "left out")
	say(t, out, "and this")
	*now = now.Add(time.Second)
	say(t, out, "b")
	say(t, out, strings.Repeat("c", 20))
	const note = "\n[output clipped, log limit 10B/s reached]\n"
	if want := strings.Repeat("a", 10) + note + "b" + strings.Repeat("c", 9) + note; a.String() != want {
		t.Errorf("%q, want %q", &a, want)
	}
}

func TestAClockThatGoesBackLeavesNothingNegative(t *testing.T) {
	t.Parallel()
	var a bytes.Buffer
	out, _, now := clip(Limit{Speed: 10}, &a, io.Discard)
	say(t, out, "abc")
	*now = now.Add(-time.Hour)
	say(t, out, "def")
	if want := "abc\n[output clipped, log limit 10B/s reached]\n"; a.String() != want {
		t.Errorf("%q, want %q", &a, want)
	}
}

// broken takes no more than some writes.
type broken struct{ writes int }

var errBroken = errors.New("broken")

func (b *broken) Write(p []byte) (int, error) {
	if b.writes--; b.writes < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestAStreamThatBreaksIsToldToWhoWrites(t *testing.T) {
	t.Parallel()
	for name, writes := range map[string]int{"at the output": 0, "at what is said of it": 1} {
		out, _, _ := clip(Limit{Size: 2}, &broken{writes}, io.Discard)
		if n, err := out.Write([]byte("abc")); n != 0 || !errors.Is(err, errBroken) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestManyWritersNeverExceedTheSize(t *testing.T) {
	t.Parallel()
	var a bytes.Buffer
	out, err := Limit{Size: 100}.Clip(&a, &a)
	var all sync.WaitGroup
	for i := range 8 {
		to := []io.Writer{out, err}[i%2]
		all.Add(1)
		go func() {
			defer all.Done()
			for range 50 {
				say(t, to, "x")
			}
		}()
	}
	all.Wait()
	if n := strings.Count(a.String(), "x"); n != 100 || strings.Count(a.String(), "clipped") != 1 {
		t.Errorf("%d bytes: %q", n, &a)
	}
}
