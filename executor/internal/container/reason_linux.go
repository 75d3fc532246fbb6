package container

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
)

// Reason says in a clause why the program that was looked for at a path could not be executed.
func (c *Container) Reason(errno unix.Errno, at string) string {
	searched := !strings.Contains(c.Step.Args[0], "/")
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		switch {
		case c.IsThere(at):
			return fmt.Sprintf("%s is in the image, but not the interpreter it asks for (the dynamic loader, or the program after #!)", at)
		case searched:
			return "not found in the image's PATH"
		case path.Base(at) == "sh" || path.Base(at) == "bash":
			return "no such file in the image (base has no shell? use the exec form, RUN [\"program\", \"argument\"])"
		}
		return "no such file in the image"
	case unix.EACCES:
		return fmt.Sprintf("%s may not be executed by user %d (is it a file with the x permission?)", at, c.User.UID)
	case unix.ENOEXEC:
		return fmt.Sprintf("%s is no program for this machine (another architecture, or a script without a #! line?)", at)
	case unix.E2BIG:
		return "arguments and environment are too long"
	case unix.ETXTBSY:
		return at + " is being written to"
	}
	return fmt.Sprintf("%s: %s", at, errno.Error())
}

// IsThere looks for a program as the child did.
func (c *Container) IsThere(name string) bool {
	if !strings.HasPrefix(name, "/") {
		name = path.Join(c.Step.Cwd, name)
	}
	f, err := inroot.Open(c.Root.Dir, name, unix.O_PATH)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
