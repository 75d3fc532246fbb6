package executor

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// startError gives the error that says why no candidate of the program could be executed.
func (s *script) startError(f *rawproc.Failure) error {
	program := s.c.step.Args[0]
	errno := f.Errno
	at := s.paths[0]
	if i := f.Op - s.execs[0]; i < len(s.paths) {
		at = s.paths[i]
	} else {
		errno = unix.ENOENT
		for i, op := range s.execs { // a candidate that exists but can't be executed explains more than missing ones
			if e := unix.Errno(-s.Result(op)); e == unix.EACCES {
				errno, at = e, s.paths[i]
				break
			} else if e == unix.ENOENT && s.isThere(s.paths[i]) {
				at = s.paths[i]
			}
		}
	}
	return &StartError{Program: program, Reason: s.reason(errno, at), Err: errno}
}

func (s *script) reason(errno unix.Errno, at string) string {
	searched := !strings.Contains(s.c.step.Args[0], "/")
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		switch {
		case s.isThere(at):
			return fmt.Sprintf("%s is in the image, but not the interpreter it asks for (the dynamic loader, or the program after #!)", at)
		case searched:
			return "not found in the image's PATH"
		case path.Base(at) == "sh" || path.Base(at) == "bash":
			return "no such file in the image (base has no shell? use the exec form, RUN [\"program\", \"argument\"])"
		}
		return "no such file in the image"
	case unix.EACCES:
		return fmt.Sprintf("%s may not be executed by user %d (is it a file with the x permission?)", at, s.c.user.UID)
	case unix.ENOEXEC:
		return fmt.Sprintf("%s is no program for this machine (another architecture, or a script without a #! line?)", at)
	case unix.E2BIG:
		return "arguments and environment are too long"
	case unix.ETXTBSY:
		return at + " is being written to"
	}
	return fmt.Sprintf("%s: %s", at, errno.Error())
}

// isThere tells whether a program exists, looked up as the child did.
func (s *script) isThere(name string) bool {
	if !strings.HasPrefix(name, "/") {
		name = path.Join(s.c.step.Cwd, name)
	}
	f, err := inroot.Open(s.c.root.dir, name, unix.O_PATH)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
