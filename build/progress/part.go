package progress

import "strings"

// Part shows the events of a build that is a part of what To shows: an attempt after the first, or a build of its own
// for a base image. Its steps get IDs that no other step has, as long as First is a multiple of more than their number.
type Part struct {
	To Sink
	// First is added to the IDs of the steps.
	First int
	// Name goes in brackets before the names of the steps; empty: nothing does.
	Name string
	// Again leaves out what was said of the Dockerfile, because it was said before.
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
	case StepOutput:
		e.ID += p.First
		p.To.Emit(e)
	case Transfer:
		e.ID += p.First
		p.To.Emit(e)
	case StepDone:
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

// Tell gives a function that shows a text as a warning; nil if the sink shows no notes, so that nobody need look for
// what there is to tell.
func Tell(to Sink) func(text string) {
	if Silent(to) {
		return nil
	}
	return func(text string) { to.Emit(Note{Text: "WARNING: " + text}) }
}
