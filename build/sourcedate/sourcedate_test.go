package sourcedate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/sourcedate"
)

func TestTheDateThatAppliesIsChosen(t *testing.T) {
	t.Parallel()
	at := func(seconds int64) *time.Time { at := time.Unix(seconds, 0); return &at }
	value := "7"
	for name, c := range map[string]struct {
		asked   sourcedate.Asked
		planned string
		want    string
	}{
		"none":             {want: ""},
		"the user's":       {asked: sourcedate.Asked{SourceDate: at(5)}, want: "5"},
		"the Dockerfile's": {asked: sourcedate.Asked{SourceDate: at(5)}, planned: "9", want: "9"},
		"taken back by an argument": {asked: sourcedate.Asked{SourceDate: at(5),
			Args: map[string]*string{sourcedate.Arg: &value}}},
		"a timestamp before all that": {asked: sourcedate.Asked{Timestamp: at(3), SourceDate: at(5)}, planned: "9",
			want: "exactly 3"},
	} {
		date, err := c.asked.Date(c.planned)
		if err != nil || date.Key() != c.want {
			t.Errorf("%s: %q, %v, want %q", name, date.Key(), err, c.want)
		}
	}
	if _, err := (sourcedate.Asked{}).Date("yesterday"); err == nil ||
		!strings.Contains(err.Error(), "SOURCE_DATE_EPOCH=yesterday") {
		t.Errorf("no number: %v", err)
	}
}

// contexts count how often they are asked.
type contexts struct {
	date  *time.Time
	err   error
	asked int
}

func (c *contexts) Date(context.Context) (*time.Time, error) {
	c.asked++
	return c.date, c.err
}

type notes []string

func (n *notes) Emit(e progress.Event) {
	if note, ok := e.(progress.Note); ok {
		*n = append(*n, note.Text)
	}
}

func TestTheDateOfTheContextIsFoundOnce(t *testing.T) {
	t.Parallel()
	at := time.Unix(11, 0)
	for _, c := range []struct {
		date  *time.Time
		want  string
		notes int
	}{{&at, "11", 0}, {nil, "", 1}} {
		from, told := &contexts{date: c.date}, &notes{}
		find := sourcedate.OfContext(from, told)
		for range 2 {
			if got, err := find(t.Context()); got != c.want || err != nil {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		}
		if from.asked != 1 || len(*told) != c.notes {
			t.Errorf("asked %d times, told %q", from.asked, *told)
		}
	}
	broken := errors.New("broken")
	if _, err := sourcedate.OfContext(&contexts{err: broken}, &notes{})(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
