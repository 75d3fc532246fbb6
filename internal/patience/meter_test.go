package patience_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/internal/patience"
)

func TestADownloadIsGivenUpForWhatItBringsNotForHowLongItTakes(t *testing.T) {
	limits := patience.Limits{Idle: 120 * time.Second, Window: 120 * time.Second, Least: 64 << 10}
	for _, c := range []struct {
		name   string
		n      int
		waited time.Duration
		reads  int
		// slow is the number of the read that ends it, 0 if none does.
		slow int
	}{
		{"a byte a second", 1, time.Second, 1 << 20, 120},
		{"a byte a minute", 1, time.Minute, 1 << 20, 2},
		{"half a kilobyte a second", 512, time.Second, 1 << 20, 120},
		{"the least there may be", 547, time.Second, 1 << 20, 0},
		{"bursts with long pauses", 64 << 10, 59 * time.Second, 1 << 20, 0},
		{"at once", 1, 0, 1 << 20, 0},
		{"a small one that is slow", 1, time.Second, 119, 0},
	} {
		m, ended := patience.NewMeter(limits), 0
		for i := 1; i <= c.reads && ended == 0; i++ {
			if err := m.Note(c.n, c.waited); err != nil {
				if slow := new(patience.SlowError); !errors.As(err, &slow) || slow.Got != int64(i*c.n) ||
					slow.Took != time.Duration(i)*c.waited {
					t.Errorf("%s: %v", c.name, err)
				}
				ended = i
			}
		}
		if ended != c.slow {
			t.Errorf("%s: ended after read %d, want %d", c.name, ended, c.slow)
		}
	}
}

func TestTheTimeWithoutAByteCountsOverAllConnections(t *testing.T) {
	m := patience.NewMeter(patience.Limits{Idle: 2 * time.Minute, Window: time.Hour})
	steps := []struct {
		n       int
		waited  time.Duration
		connect time.Duration
		over    bool
	}{
		{0, 50 * time.Second, 0, false}, {0, 0, 20 * time.Second, false}, {1, 50 * time.Second, 0, false},
		{0, 50 * time.Second, 0, false}, {0, 0, 20 * time.Second, false}, {0, 50 * time.Second, 0, true},
	}
	for i, s := range steps {
		m.Connect(s.connect)
		if err := m.Note(s.n, s.waited); err != nil {
			t.Fatal(err)
		}
		if idle, over := m.Idle(); over != s.over {
			t.Errorf("step %d: idle for %s, over %v", i, idle, over)
		}
	}
}
