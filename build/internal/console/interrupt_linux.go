package console

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errInterrupted is why a command was ended whose Ctrl-C the kernel would have dropped.
var errInterrupted = errors.New("interrupted from the terminal")

// interruptKey is what Ctrl-C types.
const interruptKey = 3

// keys hands on what is typed, and calls interrupted when the key for that is typed and nothing would come of it: the
// kernel drops signals that process 1 of a container, where the command is, does nothing about.
type keys struct {
	to          *os.File // the other side of the command's terminal
	interrupted func()
}

func (k keys) Write(typed []byte) (int, error) {
	if strings.IndexByte(string(typed), interruptKey) >= 0 && dropsInterrupt(k.to) {
		k.interrupted()
	}
	return k.to.Write(typed)
}

// dropsInterrupt tells whether Ctrl-C would mean SIGINT to process 1, which has said nothing about that signal.
func dropsInterrupt(terminal *os.File) bool {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return false
	}
	group, signals := 0, false
	err = conn.Control(func(fd uintptr) {
		settings, settingsErr := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		signals = settingsErr == nil && settings.Lflag&unix.ISIG != 0 && settings.Cc[unix.VINTR] == interruptKey
		group, err = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
	})
	if err != nil || !signals || group <= 0 {
		return false
	}
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", group))
	if err != nil {
		return false
	}
	defer func() { _ = status.Close() }()
	return isIdleInit(status)
}

// isIdleInit reads the status of a process in /proc: whether it is process 1 of a namespace below, and neither handles
// nor ignores SIGINT.
func isIdleInit(status io.Reader) bool {
	first, idle := false, true
	for lines := bufio.NewScanner(status); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch name {
		case "NSpid":
			first = len(fields) > 1 && fields[len(fields)-1] == "1"
		case "SigCgt", "SigIgn":
			set, err := strconv.ParseUint(fields[0], 16, 64)
			idle = idle && err == nil && set&(1<<(unix.SIGINT-1)) == 0
		}
	}
	return first && idle
}
