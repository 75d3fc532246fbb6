package reexec

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mark is the value of the environment variable named by marker, which the parent writes and the child reads.
type mark struct {
	fd          int     // descriptor of the pipe's read end in the child
	parent      int     // process ID of the parent
	propagation uintptr // flag of mount(2), MS_SLAVE or MS_PRIVATE, for the child's mounts
	keepGroups  bool    // the supplementary groups stay
	entered     bool    // the program was executed for the second time (mark.again): nothing is left to do
}

// Words for the fields that are not numbers.
const (
	wordSlave   = "slave"
	wordPrivate = "private"
	wordEntered = "entered"
	wordKeep    = "keep-groups"
)

// String gives "FD,PPID,PROPAGATION", and ",keep-groups" for keepGroups.
func (m mark) String() string {
	word := wordSlave
	switch {
	case m.entered:
		word = wordEntered
	case m.propagation == unix.MS_PRIVATE:
		word = wordPrivate
	}
	text := fmt.Sprintf("%d,%d,%s", m.fd, m.parent, word)
	if m.keepGroups {
		text += "," + wordKeep
	}
	return text
}

// parseMark reads the text that String gives. Unless entered is set, fd must be a pipe.
func parseMark(text string) (mark, error) {
	text, keep := strings.CutSuffix(text, ","+wordKeep)
	fields := strings.Split(text, ",")
	if len(fields) != 3 {
		return mark{}, ErrBadMarker
	}

	fd, ferr := strconv.ParseUint(fields[0], 10, 31)
	parent, perr := strconv.ParseUint(fields[1], 10, 31)
	if ferr != nil || perr != nil || fd < 3 {
		return mark{}, ErrBadMarker
	}

	m := mark{fd: int(fd), parent: int(parent), keepGroups: keep}
	switch fields[2] {
	case wordSlave:
		m.propagation = unix.MS_SLAVE
	case wordPrivate:
		m.propagation = unix.MS_PRIVATE
	case wordEntered:
		m.entered = true
		return m, nil
	default:
		return mark{}, ErrBadMarker
	}

	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return mark{}, ErrBadMarker
	}
	return m, nil
}
