package accounts

import (
	"errors"
	"strings"
	"testing"
)

func TestHighestIDSurvivesHostileFiles(t *testing.T) {
	const limit = 65535
	passwd := "root:x:0:0:root:/root:/bin/sh\nwww:x:33:1234:::\nnobody:x:65534:65534::\n"
	for _, test := range []struct {
		name, passwd, group string
		want                uint32
	}{
		{"nothing", "", "", 0},
		{"both numbers of a user", passwd, "root:x:0:\n", 1234},
		{"groups", passwd, "app:x:2000:a,b\nnogroup:x:65534:\n", 2000},
		{"absurd IDs", "a:x:4294967295:4294967294:\nb:x:99999999999999999999:-5:\nc:x:70000:65535:\n", "", limit},
		{"not lines", "a\n::\n:::::::\nx:y:z:w\n\x00\n\nlast:x:7:8", "", 8},
		{"a line without end", strings.Repeat("x", 3<<20), strings.Repeat(":", 3<<20), 0},
		{"what is beyond the first MiB", strings.Repeat("#\n", 1<<10) + strings.Repeat("x", 1<<20) + "\na:x:9:9:\n",
			"a:x:5:\n", 5},
		{"what is beyond 10,000 lines", strings.Repeat("#\n", 10000) + "a:x:9:9:\n", "a:x:5:\n", 5},
	} {
		got, err := highestID(strings.NewReader(test.passwd), strings.NewReader(test.group), limit)
		if err != nil || got != test.want {
			t.Errorf("%s: highest ID is %d, %v, want %d", test.name, got, err, test.want)
		}
	}
	if got, err := highestID(nil, nil, limit); got != 0 || err != nil {
		t.Errorf("no files give %d, %v", got, err)
	}
}

// An endless file is read no further than the limit.
func TestHighestIDEnds(t *testing.T) {
	if got, err := highestID(endless{}, endless{}, 100); err != nil || got != 7 {
		t.Errorf("highest ID is %d, %v", got, err)
	}
	if _, err := highestID(broken{}, nil, 100); !errors.Is(err, errBroken) {
		t.Errorf("a file that can't be read gives %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "a:x:7:7:\n"), nil }

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Read([]byte) (int, error) { return 0, errBroken }
