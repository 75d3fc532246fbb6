package headroom_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/headroom"
)

func TestHalfOfWhatIsLeftIsGivenAway(t *testing.T) {
	t.Parallel()
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &own); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		pidMax, threads, running string
		left                     int64
	}{
		{"1000", "5000", "900", 100}, {"4194304", "950", "900", 50}, {"900", "5000", "900", 0}, {"800", "5000", "900", 0},
	} {
		proc := t.TempDir()
		for name, text := range map[string]string{"sys/kernel/pid_max": test.pidMax, "sys/kernel/threads-max": test.threads,
			"loadavg": "0.1 0.2 0.3 4/" + test.running + " 12345"} {
			path := filepath.Join(proc, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if own.Cur < 5000 {
			t.Fatalf("this test needs a limit of 5,000 processes, not %d", own.Cur)
		}
		if left := headroom.Processes(proc); left != test.left {
			t.Errorf("%+v: %d processes are left", test, left)
		}
		if half := headroom.Half(proc); half != test.left/2 {
			t.Errorf("%+v: half is %d", test, half)
		}
		if limit := headroom.Limit(proc); limit != uint64(900+test.left/2) {
			t.Errorf("%+v: the limit is %d", test, limit)
		}
	}
}
