package steps

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// Names makes the names of steps that people see.
type Names struct {
	// Stages is how many stages the plan for one image has.
	Stages int
}

// Of names a step by its stage and place: "[builder 2/5]", "[stage-1 2/5]", or "[2/5]" where there is one stage only.
// In a build for several platforms what the step is for comes first.
func (n Names) Of(s *plan.Step) string {
	var words []string
	if s.Platforms != "" {
		words = append(words, s.Platforms)
	}
	switch {
	case s.Stage.Index < 0:
		if len(words) == 0 {
			return ""
		}
		return "[" + words[0] + "]"
	case s.Stage.Name != strconv.Itoa(s.Stage.Index):
		words = append(words, s.Stage.Name)
	case n.Stages > 1:
		words = append(words, "stage-"+s.Stage.Name)
	}
	return "[" + strings.Join(append(words, fmt.Sprintf("%d/%d", s.Number, s.Total)), " ") + "]"
}

// StepError is a step that failed.
type StepError struct {
	// Platforms is what the step is for in a build for several platforms, as in "linux/amd64->arm64"; empty
	// in a build for one platform.
	Platforms string
	// Stage is the name of the stage, Step the place of the step in it, as in "2/5".
	Stage, Step string
	Location    dockerfile.Location
	// Text is the instruction as the Dockerfile has it.
	Text string
	// ExitCode is the command's exit status, 0 if it failed otherwise.
	ExitCode int
	Err      error
}

func (e *StepError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", e.Location.File, e.Location.StartLine)
	if e.Platforms != "" {
		b.WriteString("[" + e.Platforms + "] ")
	}
	fmt.Fprintf(&b, "%s\n%v", plan.FirstLine(e.Text), e.Err)
	return b.String()
}

func (e *StepError) Unwrap() error { return e.Err }

// Errors makes an error of a step a *StepError that says where the step is.
type Errors struct {
	// Explain makes an error that is the machine's fault a store.ErrMachine; see session.Session.Explain.
	Explain func(error) error
}

// Of is the *StepError of a step that has failed, be it after it has ended. An error of another step, for which this
// one was cancelled, is returned as it is.
func (e Errors) Of(s *plan.Step, err error) error {
	if other := new(StepError); errors.As(err, &other) || errors.Is(err, context.Canceled) {
		return err
	}
	err = e.Explain(err)
	failed := &StepError{Platforms: s.Platforms, Stage: s.Stage.Name, Step: fmt.Sprintf("%d/%d", s.Number, s.Total),
		Location: s.Location, Text: s.Text, Err: err}
	if exit := new(runstep.ExitError); errors.As(err, &exit) {
		failed.ExitCode = exit.Code
	}
	return failed
}
