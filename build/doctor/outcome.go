package doctor

import (
	"errors"
	"strings"

	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// outcome is that of an attempt which gave this error, or none.
func outcome(err error) Outcome {
	o := Outcome{Tried: true}
	if err == nil {
		return o
	}
	if machine := new(reexec.MachineError); errors.As(err, &machine) {
		o.Problem, o.Fix = oneLine(machine.Problem), oneLine(machine.Remedy)
		return o
	}
	text, separator := err.Error(), "\nhint: "
	if errors.Is(err, userns.ErrNoSubIDs) || errors.Is(err, userns.ErrTooFewSubIDs) ||
		errors.Is(err, userns.ErrNoGetsubids) || errors.Is(err, userns.ErrBadSubIDs) {
		separator = "; "
	}
	problem, fix, _ := strings.Cut(text, separator)
	o.Problem, o.Fix = oneLine(problem), oneLine(fix)
	return o
}

// said is the outcome of a child that has failed with this on its standard error.
func said(stderr string) Outcome {
	text := strings.TrimPrefix(strings.TrimSpace(stderr), "cooper: ")
	problem, fix, hint := strings.Cut(text, "\nhint: ")
	if !hint {
		problem, fix, _ = strings.Cut(text, "; ")
	}
	return Outcome{Tried: true, Problem: orElse(oneLine(problem), "it ended without a word"), Fix: oneLine(fix)}
}

// orFix gives an outcome that went wrong a remedy, if it has none of its own.
func (o Outcome) orFix(fix string) Outcome {
	if o.Problem != "" && o.Fix == "" {
		o.Fix = fix
	}
	return o
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// diagnosed is the reason for an error of what needs a user namespace.
func diagnosed(err error) error { return reexec.Diagnose("/proc", err) }
