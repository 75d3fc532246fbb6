package show

import (
	"errors"
	"testing"
)

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
}
