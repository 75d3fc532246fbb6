package progress

import (
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
