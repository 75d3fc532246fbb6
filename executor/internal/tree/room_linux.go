package tree

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Room is how many more processes this user can start before a limit of the user, of the pid namespace or of the
// machine is reached. All processes of the machine are taken for the user's, so it may be more.
func Room(proc string) int64 {
	room := int64(math.MaxInt64)
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &l); err == nil && l.Cur < math.MaxInt64 {
		room = int64(l.Cur)
	}
	for _, name := range []string{"sys/kernel/pid_max", "sys/kernel/threads-max"} {
		text, err := os.ReadFile(filepath.Join(proc, name))
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			room = min(room, n)
		}
	}
	return max(0, room-processes(proc))
}

// processes counts those of the machine with their threads: the number behind the slash of loadavg.
func processes(proc string) int64 {
	text, err := os.ReadFile(filepath.Join(proc, "loadavg"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "/")
	number, _, _ := strings.Cut(rest, " ")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n
}
