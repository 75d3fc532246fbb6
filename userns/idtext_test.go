package userns

import "testing"

func TestIDsAreNamedForPeople(t *testing.T) {
	many := []uint32{}
	for i := range uint32(20) {
		many = append(many, 10*i)
	}
	for want, ids := range map[string]IDs{
		"no IDs":                                 {},
		"user ID 70000":                          {UIDs: []uint32{70000, 70000}},
		"group ID 5":                             {GIDs: []uint32{5}},
		"user IDs 7, 70000-70002 and group ID 5": {UIDs: []uint32{70001, 70000, 7, 70002}, GIDs: []uint32{5}},
		"user IDs 0, 10, 20, 30, 40, 50, 60, 70 and 12 more": {UIDs: many},
	} {
		if got := ids.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
