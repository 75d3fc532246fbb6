package layer

import (
	"testing"
	"time"
)

func TestADateReplacesTimes(t *testing.T) {
	t.Parallel()
	at := time.Unix(100, 0)
	for name, test := range map[string]struct {
		date               *Date
		before, after      int64
		recordThen, record int64
	}{
		"none":    {nil, 99, 101, 99, 101},
		"a limit": {&Date{Time: at}, 99, 100, 99, 100},
		"exactly": {&Date{Time: at, Exact: true}, 100, 100, 100, 100},
	} {
		if before, after := test.date.Seconds(99), test.date.Seconds(101); before != test.before || after != test.after {
			t.Errorf("%s: files of %d and %d", name, before, after)
		}
		then, now := test.date.Record(time.Unix(99, 0)), test.date.Record(time.Unix(101, 0))
		if then.Unix() != test.recordThen || now.Unix() != test.record || now.Location() != time.UTC {
			t.Errorf("%s: records of %v and %v", name, then, now)
		}
	}
	if (*Date)(nil).Key() != "" || (&Date{Time: at}).Key() != "100" || (&Date{Time: at, Exact: true}).Key() == "100" {
		t.Error("keys don't tell the dates apart")
	}
}
