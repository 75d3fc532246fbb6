package oci

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/step"
)

const (
	maxArg    = 32 * 4096 // bytes of one argument, MAX_ARG_STRLEN of the kernel
	maxScript = 256       // bytes of a script's first line that the kernel reads
	// maxInterpreter is how long the name of a dynamic loader may be, in bytes, PATH_MAX of the kernel.
	maxInterpreter = 4096
)

// checkProgram gives an error if the program's file shows that the kernel will refuse to execute it: a runtime reports
// that only by an exit status. What the file doesn't show for sure is left to the runtime.
func (o *BackEnd) checkProgram() error {
	for _, text := range append(append([]string{o.c.Step.Cwd, o.c.Hostname()}, o.c.Step.Args...), o.c.Env...) {
		if strings.IndexByte(text, 0) >= 0 {
			return &step.SetupError{Doing: fmt.Sprintf("string %q: has a NUL byte", text), Err: unix.EINVAL}
		}
		if len(text) >= maxArg {
			return o.startError(unix.E2BIG, "")
		}
	}

	refused := ""
	for _, at := range container.Candidates(o.c.Step.Args[0], o.c.Env) {
		name := at
		if !strings.HasPrefix(at, "/") {
			name = path.Join("/", o.c.Step.Cwd, at)
		}

		f := o.lookIn(name)
		if f == nil {
			continue
		}

		errno, known := o.executable(f)
		f.Close()
		switch {
		case (!known || errno == 0) && !strings.Contains(at, "/"):
			reason := "it is in a relative directory of PATH, where an OCI runtime doesn't look"
			return &step.StartError{Program: o.c.Step.Args[0], Reason: reason, Err: unix.ENOENT}
		case !known || errno == 0:
			return nil
		case errno != unix.EACCES:
			return o.startError(errno, at)
		case refused == "":
			refused = at
		}
	}

	if refused != "" {
		return o.startError(unix.EACCES, refused)
	}
	return nil
}

func (o *BackEnd) startError(errno unix.Errno, at string) error {
	return &step.StartError{Program: o.c.Step.Args[0], Reason: o.c.Reason(errno, at), Err: errno}
}

// lookIn opens the file that an absolute path leads to in the step; nil if there is none.
func (o *BackEnd) lookIn(name string) *os.File {
	found, err := inroot.Locate(o.c.Root.Dir, name)
	if err != nil {
		return nil
	}
	view, below := o.c.Mounts.View(found.Name)
	if view == nil {
		return nil
	}
	f, err := inroot.Open(view, below, unix.O_PATH)
	if err != nil {
		return nil
	}
	return f
}

// executable gives the errno with which the kernel will refuse to execute a program, 0 if it won't; known is false if
// that can't be told.
func (o *BackEnd) executable(handle *os.File) (errno unix.Errno, known bool) {
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
		return o.hasInterpreter(fields)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return o.executableELF(f, head)
	}

	return unix.ENOEXEC, !emulator.OtherFormats()
}

func (o *BackEnd) hasInterpreter(fields []string) (unix.Errno, bool) {
	if len(fields) == 0 || !strings.HasPrefix(fields[0], "/") {
		return 0, false
	}
	f := o.lookIn(fields[0])
	if f == nil {
		return unix.ENOENT, true
	}
	f.Close()
	return 0, true
}

// executableELF looks at the machine that a program is for, and at the dynamic loader that it asks for.
func (o *BackEnd) executableELF(f *os.File, head []byte) (unix.Errno, bool) {
	if arch := emulator.ArchOfHead(head); arch != "" && !emulator.Executes(arch) && !emulator.Handled(arch) {
		return unix.ENOEXEC, !emulator.OtherFormats()
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return 0, false
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < maxInterpreter {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err != nil {
				return 0, false
			}
			return o.hasInterpreter([]string{strings.TrimRight(string(name), "\x00")})
		}
	}
	return 0, true
}
