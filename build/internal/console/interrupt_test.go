package console

import (
	"strings"
	"testing"
)

func TestWhoDropsAnInterrupt(t *testing.T) {
	t.Parallel()
	const init = "Name:\tsleep\nNSpid:\t4711\t1\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"
	for name, test := range map[string]struct {
		status string
		want   bool
	}{
		"process 1":               {init, true},
		"one that handles it":     {strings.Replace(init, "Cgt:\t0000000000000000", "Cgt:\t0000000000000002", 1), false},
		"one that ignores it":     {strings.Replace(init, "Ign:\t0000000000000000", "Ign:\t0000000000000002", 1), false},
		"one that handles others": {strings.Replace(init, "Cgt:\t0000000000000000", "Cgt:\t0000000000004001", 1), true},
		"another process":         {strings.Replace(init, "4711\t1", "4711\t12", 1), false},
		"one of this namespace":   {strings.Replace(init, "4711\t1", "1", 1), false},
		"one that is gone":        {"", false},
	} {
		if got := isIdleInit(strings.NewReader(test.status)); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
