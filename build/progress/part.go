package progress

import (
	"slices"
	"strings"
)

// Part is a sink for the events of a build that is part of another build, which To shows: a further attempt, or the
// build of a base image. It adds First to the IDs of the steps, so that they differ from those of other parts if each
// part has fewer steps than the distance between their values of First.
type Part struct {
	To Sink
	// First is added to the IDs of the steps.
	First int
	// Name goes in brackets before the names of the steps; empty: nothing does.
	Name string
	// Again drops the warnings and notes about the Dockerfile, since they were shown before.
	Again bool
}

var _ Sink = Part{}

// Emit implements Sink.
func (p Part) Emit(e Event) {
	switch e := e.(type) {
	case StepStarted:
		e.ID += p.First
		if p.Name != "" {
			e.Name = strings.TrimSpace("[" + p.Name + "] " + e.Name)
		}
		p.To.Emit(e)
	case Planned:
		if p.Name == "" { // else it is a build within the build
			p.To.Emit(p.planned(e))
		}
	case StepOutput:
		e.ID += p.First
		p.To.Emit(e)
	case Transfer:
		e.ID += p.First
		p.To.Emit(e)
	case StepTalked:
		e.ID += p.First
		p.To.Emit(e)
	case StepUsed:
		e.ID += p.First
		p.To.Emit(e)
	case StepDone:
		e.ID += p.First
		p.To.Emit(e)
	case Explained:
		e.ID += p.First
		p.To.Emit(e)
	case Warning:
		if !p.Again {
			p.To.Emit(e)
		}
	default:
		p.To.Emit(e)
	}
}

// planned is the plan with the IDs that the steps have here.
func (p Part) planned(e Planned) Planned {
	e.Instructions = slices.Clone(e.Instructions)
	for i := range e.Instructions {
		e.Instructions[i].ID += p.First
	}
	return e
}

// ShowsNotes tells whether what the events go on to shows notes.
func (p Part) ShowsNotes() bool { return ShowsNotes(p.To) }
