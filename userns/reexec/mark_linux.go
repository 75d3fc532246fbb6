package reexec

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mark is what the parent says to the child through the environment: the value
// of the variable that marker names.
type mark struct {
	fd          int     // read end of the pipe
	parent      int     // process ID
	propagation uintptr // flag of mount(2)
	entered     bool    // all is done: the program was executed for the second time
}

// Words for the fields that are not numbers.
const (
	wordSlave   = "slave"
	wordPrivate = "private"
	wordEntered = "entered"
)

// String gives "FD,PPID,PROPAGATION".
func (m mark) String() string {
	word := wordSlave
	switch {
	case m.entered:
		word = wordEntered
	case m.propagation == unix.MS_PRIVATE:
		word = wordPrivate
	}
	return fmt.Sprintf("%d,%d,%s", m.fd, m.parent, word)
}

// parseMark reads what String gives. The descriptor must be a pipe, if it is still needed.
func parseMark(text string) (mark, error) {
	fields := strings.Split(text, ",")
	if len(fields) != 3 {
		return mark{}, ErrBadMarker
	}
	fd, ferr := strconv.ParseUint(fields[0], 10, 31)
	parent, perr := strconv.ParseUint(fields[1], 10, 31)
	if ferr != nil || perr != nil || fd < 3 {
		return mark{}, ErrBadMarker
	}
	m := mark{fd: int(fd), parent: int(parent)}
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
