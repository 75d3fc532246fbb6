package script

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HandlesSignal says whether the process has a handler for the signal.
func HandlesSignal(pid int, sig unix.Signal) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if hex, ok := strings.CutPrefix(lines.Text(), "SigCgt:"); ok {
			caught, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && caught&(1<<(sig-1)) != 0
		}
	}
	return false
}
