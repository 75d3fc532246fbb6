package progress

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// eventList is a sink that keeps the events.
type eventList []Event

func (l *eventList) Emit(e Event) { *l = append(*l, e) }

func TestMeterShowsHowFarATransferIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got eventList
		m := StartMeter(&got, Transfer{ID: 3, What: "copying"})
		time.Sleep(meterEvery + 1)
		m.Add(2, 100)
		time.Sleep(meterEvery)
		m.Add(1, 0)
		if _, err := m.Write(make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
		m.Stop()
		want := eventList{
			Transfer{ID: 3, What: "copying", Files: 2, Done: 100},
			Transfer{ID: 3, What: "copying", Files: 3, Done: 150},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestMeterKeepsQuietAboutWhatIsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got eventList
		m := StartMeter(&got, Transfer{ID: 3, What: "copying"})
		m.Add(2, 100)
		m.Stop()
		if len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
}

func TestTransferNamesItsUnits(t *testing.T) {
	for want, x := range map[string]transfer{
		"1.50kB":                   {done: 1500},
		"1 file, 1.50kB":           {done: 1500, files: 1},
		"2 files, 1.50kB / 3.00kB": {done: 1500, total: 3000, files: 2},
		"20000 files, 3.00GB done": {done: 3e9, total: 3e9, files: 20000},
		"999.99MB / 1.00GB":        {done: 999_990_000, total: 1e9},
	} {
		if got := x.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAnErrorIsShownWithoutItsHint(t *testing.T) {
	if got := short(errors.New("no such thing\nas that\nhint: make one")); got != "no such thing as that" {
		t.Errorf("got %q", got)
	}
	if got := oneLine("no such thing\nhint: make one"); got != "no such thing; hint: make one" {
		t.Errorf("got %q", got)
	}
}
