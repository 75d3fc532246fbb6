package command

import (
	"fmt"

	"github.com/cooperbuild/cooper/build/progress"
)

// Notes shows what there is to say as lines on standard error, and nothing of what goes on.
func Notes(env Env) progress.Sink { return notes{env} }

type notes struct{ env Env }

func (n notes) Emit(e progress.Event) {
	if note, ok := e.(progress.Note); ok {
		fmt.Fprintf(n.env.Errs(), "%s: %s\n", "cooper", note.Text)
	}
}
