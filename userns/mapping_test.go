package userns

import (
	"errors"
	"strings"
	"testing"
)

func TestDefaultStacksTheRangesAboveTheCaller(t *testing.T) {
	one := []SubIDRange{{100000, 65536}}
	for _, test := range []struct {
		name       string
		uids, gids []SubIDRange
		want       string // "UIDMAP / GIDMAP"
	}{
		{"one range", one, one, "0 1000 1\n1 100000 65536 / 0 1001 1\n1 100000 65536"},
		{"groups differ", one, []SubIDRange{{200000, 10}}, "0 1000 1\n1 100000 65536 / 0 1001 1\n1 200000 10"},
		{"lowest first", []SubIDRange{{300000, 5}, {100000, 10}}, one,
			"0 1000 1\n1 100000 10\n11 300000 5 / 0 1001 1\n1 100000 65536"},
		{"listed twice", []SubIDRange{{100000, 10}, {100000, 10}}, one, "0 1000 1\n1 100000 10 / 0 1001 1\n1 100000 65536"},
		{"overlap", []SubIDRange{{100005, 10}, {100000, 10}}, one,
			"0 1000 1\n1 100000 10\n11 100010 5 / 0 1001 1\n1 100000 65536"},
		{"one inside another", []SubIDRange{{100005, 2}, {100000, 10}}, one,
			"0 1000 1\n1 100000 10 / 0 1001 1\n1 100000 65536"},
		{"empty range", []SubIDRange{{5, 0}, {100000, 10}}, one, "0 1000 1\n1 100000 10 / 0 1001 1\n1 100000 65536"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := Default(1000, 1001, SubIDs{test.uids, test.gids})
			if got := m.UIDs.String() + " / " + m.GIDs.String(); err != nil || got != test.want {
				t.Errorf("mapping is %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestDefaultHasNoFallbackToASingleID(t *testing.T) {
	one := []SubIDRange{{100000, 65536}}
	for _, sub := range []SubIDs{{}, {UIDs: one}, {GIDs: one}, {UIDs: []SubIDRange{{7, 0}}, GIDs: one}} {
		if m, err := Default(1000, 1000, sub); !errors.Is(err, ErrNoSubIDs) || m.UIDs != nil {
			t.Errorf("%v gives %v, %v", sub, m, err)
		}
		if _, err := FromSubIDs(sub); !errors.Is(err, ErrNoSubIDs) {
			t.Errorf("%v gives %v", sub, err)
		}
	}
}

func TestDefaultRefusesARangeWithTheCallersOwnID(t *testing.T) {
	_, err := Default(1000, 1000, SubIDs{[]SubIDRange{{500, 1000}}, []SubIDRange{{100000, 65536}}})
	if !errors.Is(err, ErrBadMap) || !strings.Contains(err.Error(), "map user IDs") {
		t.Errorf("error is %v", err)
	}
}

func TestFromSubIDsBeginsWithTheFirstSubordinateID(t *testing.T) {
	m, err := FromSubIDs(SubIDs{[]SubIDRange{{300000, 5}, {100000, 10}}, []SubIDRange{{0, 4294967295}}})
	if err != nil || m.UIDs.String() != "0 100000 10\n10 300000 5" || m.GIDs.String() != "0 0 4294967295" {
		t.Errorf("mapping is %q, %q, %v", m.UIDs, m.GIDs, err)
	}
}

func TestStackStopsAtTheEndOfTheIDSpace(t *testing.T) {
	m, err := Default(4294967294, 4294967294, SubIDs{[]SubIDRange{{0, 4294967294}}, []SubIDRange{{0, 4294967294}}})
	if err != nil || m.UIDs.Highest() != MaxID {
		t.Errorf("mapping is %v, %v", m, err)
	}
}

func TestInitialIsEveryIDItself(t *testing.T) {
	for text, want := range map[string]bool{"0 0 4294967295": true, "0 0 65536": false, "0 1000 1\n1 100000 65536": false,
		"": false} {
		m, err := ParseMap(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Mapping{UIDs: m, GIDs: m}).Initial(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
