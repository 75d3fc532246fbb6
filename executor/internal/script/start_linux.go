package script

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/step"
)

// startError gives the error that says why no candidate of the program could be executed.
func (s *Script) startError(f *rawproc.Failure) error {
	program := s.C.Step.Args[0]
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
			} else if e == unix.ENOENT && s.C.IsThere(s.paths[i]) {
				at = s.paths[i]
			}
		}
	}
	return &step.StartError{Program: program, Reason: s.C.Reason(errno, at), Err: errno}
}
