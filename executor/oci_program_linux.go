package executor

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxArg    = 32 * 4096 // bytes of one argument, MAX_ARG_STRLEN of the kernel
	maxScript = 256       // bytes of a script's first line that the kernel reads
)

// checkProgram finds what would keep the program from being executed, as far as its file tells: a runtime says nothing but an exit
// status when the kernel refuses. What it can't be sure of it leaves to the runtime.
func (c *container) checkProgram() error {
	for _, text := range append(append([]string{c.step.Cwd, c.hostname()}, c.step.Args...), c.env...) {
		if strings.IndexByte(text, 0) >= 0 {
			return &SetupError{fmt.Sprintf("string %q: has a NUL byte", text), unix.EINVAL}
		}
		if len(text) >= maxArg {
			return c.startError(unix.E2BIG, "")
		}
	}
	refused := ""
	for _, at := range candidates(c.step.Args[0], c.env) {
		name := at
		if !strings.HasPrefix(at, "/") {
			name = path.Join("/", c.step.Cwd, at)
		}
		f := c.lookIn(name)
		if f == nil {
			continue
		}
		errno, known := c.executable(f)
		f.Close()
		switch {
		case (!known || errno == 0) && !strings.Contains(at, "/"):
			reason := "it is in a relative directory of PATH, where an OCI runtime doesn't look"
			return &StartError{Program: c.step.Args[0], Reason: reason, Err: unix.ENOENT}
		case !known || errno == 0:
			return nil
		case errno != unix.EACCES:
			return c.startError(errno, at)
		case refused == "":
			refused = at
		}
	}
	if refused != "" {
		return c.startError(unix.EACCES, refused)
	}
	return nil
}

func (c *container) startError(errno unix.Errno, at string) error {
	s := &script{c: c}
	return &StartError{Program: c.step.Args[0], Reason: s.reason(errno, at), Err: errno}
}

// lookIn opens an absolute path as the step will see it, nil if it isn't there.
func (c *container) lookIn(name string) *os.File {
	found, err := locate(c.root.dir, name)
	if err != nil {
		return nil
	}
	view, below := c.viewOf(found.name)
	if view == nil {
		return nil
	}
	f, err := openIn(view, below, unix.O_PATH)
	if err != nil {
		return nil
	}
	return f
}

// viewOf is the mount that a path of the root lies in, and the path in it; nil if it can't be looked into yet.
func (c *container) viewOf(name string) (*os.File, string) { return c.viewIn(c.mounts, name) }

// viewIn is viewOf with some of the mounts.
func (c *container) viewIn(mounts []attachment, name string) (*os.File, string) {
	view, below := c.root.dir, name
	for _, a := range mounts { // the deepest is last
		rest, ok := strings.CutPrefix(name+"/", a.name+"/")
		if !ok {
			continue
		}
		if view, below = a.view, strings.TrimSuffix(rest, "/"); a.mount == nil {
			view, below = c.room, a.room
		} else if view == nil {
			view = a.mount
		}
	}
	return view, below
}

// executable says what the kernel will say to a program; known is false if that can't be told.
func (c *container) executable(handle *os.File) (errno unix.Errno, known bool) {
	var st unix.Stat_t
	if unix.Fstat(int(handle.Fd()), &st) != nil {
		return 0, false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return unix.EACCES, true
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	head := make([]byte, maxScript)
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return unix.ENOEXEC, true
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := strings.Cut(string(head[2:]), "\n")
		fields := strings.Fields(line)
		return c.hasInterpreter(fields)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return c.executableELF(f, head)
	}
	return unix.ENOEXEC, !c.otherFormats()
}

func (c *container) hasInterpreter(fields []string) (unix.Errno, bool) {
	if len(fields) == 0 || !strings.HasPrefix(fields[0], "/") {
		return 0, false
	}
	f := c.lookIn(fields[0])
	if f == nil {
		return unix.ENOENT, true
	}
	f.Close()
	return 0, true
}

// executableELF looks at the machine that a program is for, and at the dynamic loader that it asks for.
func (c *container) executableELF(f *os.File, head []byte) (unix.Errno, bool) {
	for _, m := range elfMachines() {
		want := m.head(elfDyn) // the kind is not compared
		if len(head) < headLength || !bytes.Equal(head[4:6], want[4:6]) || !bytes.Equal(head[18:20], want[18:20]) {
			continue
		}
		if !Executes(m.arch) && !Handled(m.arch) {
			return unix.ENOEXEC, !c.otherFormats()
		}
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return 0, false
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < maxPath {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err != nil {
				return 0, false
			}
			return c.hasInterpreter([]string{strings.TrimRight(string(name), "\x00")})
		}
	}
	return 0, true
}

// otherFormats says that this machine may execute more than this package knows of.
func (c *container) otherFormats() bool {
	entries, err := os.ReadDir(hostHandlers)
	return err == nil && len(entries) > 2
}
