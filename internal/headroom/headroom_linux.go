package headroom

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Processes is how many more processes this user can start before a limit of the user, of the pid namespace or of the
// machine is reached. All processes of the machine are taken for the user's, so it may be more.
func Processes(proc string) int64 {
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
	return max(0, room-running(proc))
}

// Usual is how many processes a user's commands may have that are told nothing else, if the user may have twice as
// many: a fork bomb takes the half that is left to them, and the session keeps the other.
const Usual = 32768

// Half is the usual number, or half of what there is room for.
func Half(proc string) int64 { return min(Usual, Processes(proc)/2) }

// Limit is the user's limit of processes with which Half more can be started.
func Limit(proc string) uint64 { return uint64(running(proc) + Half(proc)) }

// running counts those of the machine with their threads: the number behind the slash of loadavg.
func running(proc string) int64 {
	text, err := os.ReadFile(filepath.Join(proc, "loadavg"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "/")
	number, _, _ := strings.Cut(rest, " ")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n
}
