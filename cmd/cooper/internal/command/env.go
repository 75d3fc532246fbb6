package command

import (
	"io"
	"os"

	"github.com/cooperbuild/cooper/build/progress/lines"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// Env is what a run of the program is given.
type Env struct {
	Args                  []string
	Stdin, Stdout, Stderr *os.File
	Version               string
	// Name is the name that the program was started by.
	Name string
	// Dialect says whose defaults and messages the program has; the zero value is cooper's own.
	Dialect dialect.Dialect
	// KeepGroups leaves the process in the user namespace the groups of who started this one.
	KeepGroups bool
	// Inside says that this process is root of the user namespace cooper made.
	Inside bool
}

// Out is standard output for text. On a terminal what the text has from Dockerfiles, images and servers does nothing
// but show; what goes into a file or pipe is as it is.
func (e Env) Out() io.Writer {
	if terminal.Is(e.Stdout) {
		return lines.Safe(e.Stdout)
	}
	return e.Stdout
}

// Errs is standard error for messages, which are always safe to show: sooner or later somebody looks at a log on a
// terminal.
func (e Env) Errs() io.Writer { return lines.Safe(e.Stderr) }
