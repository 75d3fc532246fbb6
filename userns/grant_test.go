package userns

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNoIDIsProposedThatIsNotThere(t *testing.T) {
	container := Map{{Container: 0, Host: 100000, Length: 1}, {Container: 1, Host: 200000, Length: 65535}}
	for _, tt := range []struct {
		name, file   string
		within       Map
		count, least uint64
		own          []uint32
		want         SubIDRange
	}{
		{"all IDs are there", "", nil, 65536, 1, []uint32{1000}, SubIDRange{100000, 65536}},
		{"above what others have", "bob:100000:65536\n", nil, 65536, 1, []uint32{1000}, SubIDRange{165536, 65536}},
		{"the usual range is there", "", Map{{0, 0, 1 << 20}}, 65536, 1, []uint32{1000}, SubIDRange{100000, 65536}},
		{"in a container", "", container, 65536, 1, []uint32{1000}, SubIDRange{1001, 64535}},
		{"between the own ID and others'", "bob:50000:15536\n", container, 65536, 1, []uint32{1000}, SubIDRange{1001, 48999}},
		{"lines from outside don't count", "bob:100000:65536\n", container, 65536, 1, []uint32{1000},
			SubIDRange{1001, 64535}},
		{"fewer are no use", "", container, 65536, 65536, []uint32{1000}, SubIDRange{}},
		{"fewer are enough", "", container, 2000, 2000, []uint32{1000}, SubIDRange{1001, 2000}},
		{"a single ID", "", Map{{0, 1000, 1}}, 65536, 1, []uint32{0}, SubIDRange{}},
		{"no ID", "", Map{}, 65536, 1, nil, SubIDRange{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "subuid")
			if err := os.WriteFile(file, []byte(tt.file), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := (grantPlace{file, tt.within}).grant(tt.count, tt.least, tt.own); got.Range != tt.want || got.File != file {
				t.Errorf("proposes %+v, want %+v", got, tt.want)
			}
		})
	}
}
