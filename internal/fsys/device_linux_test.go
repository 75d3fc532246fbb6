package fsys

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestADeviceIsTheOneThatItsNumbersSay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		major, minor int64
		wrong        bool
	}{
		{0, 0, false}, {1, 3, false}, {4095, 1<<20 - 1, false}, {8, 256, false}, {259, 65536, false},
		{4096, 0, true}, {0, 1 << 20, true}, {1 << 32, 0, true}, {0, 1 << 32, true}, {-1, 0, true}, {0, -1, true},
	} {
		got, err := Device(c.major, c.minor)
		if (err != nil) != c.wrong || err != nil && !strings.Contains(err.Error(), "from 0:0 to 4095:1048575") {
			t.Errorf("%d:%d: %v", c.major, c.minor, err)
		}
		// mknod takes 32 bits.
		kept := uint64(uint32(got))
		if err == nil && (int64(unix.Major(kept)) != c.major || int64(unix.Minor(kept)) != c.minor) {
			t.Errorf("%d:%d becomes %d:%d", c.major, c.minor, unix.Major(kept), unix.Minor(kept))
		}
	}
}
