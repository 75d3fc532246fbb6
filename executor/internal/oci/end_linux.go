package oci

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/step"
)

// maxLog is how many bytes of a runtime's log are read.
const maxLog = 1 << 20

// runtimeError is an error that a runtime has written to its log, where it is only a text.
type runtimeError struct{ text string }

func (e runtimeError) Error() string { return e.text }

// Failure says why the runtime could not run the step, nil if it could: a runtime's own exit status tells nothing, but
// it writes to its log only when something is wrong.
func (o *BackEnd) Failure() error {
	text, err := o.bundle.lastError()
	if err != nil || text == "" {
		return err
	}
	doing := "run the step with " + o.runtime.Name
	if errno := execErrno(text); errno != 0 {
		at := ""
		for _, at = range container.Candidates(o.c.Step.Args[0], o.c.Env) {
			if o.c.IsThere(at) {
				break
			}
		}
		return o.startError(errno, at)
	}
	if strings.Contains(strings.ToLower(text), "rlimit") {
		limits := make([]string, len(o.c.Step.Limits))
		for i, l := range o.c.Step.Limits {
			limits[i] = l.String()
		}
		doing += ": " + script.SetLimit + strings.Join(limits, ", ") + ": is it more than this user may have (ulimit -H)?"
	}
	return &step.SetupError{Doing: doing, Err: runtimeError{text}}
}

// lastError gives the last error in the runtime's log, "" if there is none.
func (b *bundle) lastError() (string, error) {
	fd, err := unix.Openat(int(b.dir.Fd()), logFile, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the runtime's log: %w", err)
	}
	f := os.NewFile(uintptr(fd), logFile)
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", errors.Join(errors.New("read the runtime's log: it is no regular file"), err)
	}
	text := ""
	lines := bufio.NewScanner(io.LimitReader(f, maxLog))
	lines.Buffer(nil, maxLog)
	for lines.Scan() {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			text = entry.Msg
		}
	}
	return strings.TrimSpace(text), nil
}

// execErrno gives the errno for which a runtime could not execute the step's program, found in its error text; 0 if the
// text is about something else.
func execErrno(text string) unix.Errno {
	text = strings.ToLower(text)
	if !strings.Contains(text, "exec") {
		return 0
	}
	if strings.Contains(text, "not found in $path") {
		return unix.ENOENT
	}
	for _, e := range []unix.Errno{unix.ENOEXEC, unix.EACCES, unix.ENOENT, unix.ENOTDIR, unix.E2BIG, unix.ETXTBSY} {
		if strings.Contains(text, strings.ToLower(e.Error())) {
			return e
		}
	}
	if strings.Contains(text, "open executable") {
		return unix.EACCES
	}
	return 0
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return 0
}

// descendantHandles says whether a process below pid handles the signal.
func descendantHandles(pid int, sig unix.Signal) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return false
	}
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err == nil && (script.HandlesSignal(child, sig) || descendantHandles(child, sig)) {
			return true
		}
	}
	return false
}
