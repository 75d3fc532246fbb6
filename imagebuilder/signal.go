package imagebuilder

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxSignal is SIGRTMAX on Linux.
const maxSignal = 64

// signalNames gives the names of the signals of Linux without SIG; CheckSignal knows RTMIN+n and RTMAX-n besides.
func signalNames() []string {
	return []string{
		"ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF",
		"PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG",
		"USR1",
		"USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
	}
}

// CheckSignal refuses a value of STOPSIGNAL that is no signal: neither a number from 1 to 64 nor a name, with or
// without SIG, in upper or lower case.
func CheckSignal(signal string) error {
	if n, err := strconv.Atoi(signal); err == nil {
		if n < 1 || n > maxSignal {
			return fmt.Errorf("signal %d is not between 1 and %d", n, maxSignal)
		}
		return nil
	}
	name := strings.TrimPrefix(strings.ToUpper(signal), "SIG")
	if slices.Contains(signalNames(), name) {
		return nil
	}
	for _, prefix := range []string{"RTMIN+", "RTMAX-"} {
		offset, ok := strings.CutPrefix(name, prefix)
		if n, err := strconv.Atoi(offset); ok && err == nil && n >= 0 && n <= maxSignal-34 && offset[0] != '+' {
			return nil
		}
	}
	return fmt.Errorf("%q is not a signal", signal)
}
