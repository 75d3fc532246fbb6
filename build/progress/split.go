package progress

import (
	"bytes"
	"errors"
	"slices"
	"sync"
)

// split shows the parts of a build for several platforms by a renderer each.
type split struct {
	open  func(platforms []string) ([]Renderer, error)
	notes bool

	mu sync.Mutex
	// before are the events from before the platforms were known.
	before []Event
	opened bool
	// platforms are those of the renderers.
	platforms []string
	renderers []Renderer
	// steps are the renderers of each step that runs, by its ID; a step that isn't here is shown by all.
	steps  map[int][]Renderer
	err    error
	closed bool
}

var _ Renderer = (*split)(nil)

// NewSplit makes a renderer that shows the part of each platform elsewhere. A step that several need is shown at each
// of them, and what belongs to no step at all. open makes a renderer for each platform. It is called once, with none if
// the build ended before the platforms were known; then it makes one. notes tells whether these show notes, which may
// be asked before they are there.
func NewSplit(notes bool, open func(platforms []string) ([]Renderer, error)) Renderer {
	return &split{open: open, notes: notes, steps: map[int][]Renderer{}}
}

// Emit implements Sink.
func (s *split) Emit(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if planned, is := e.(Planned); is {
		s.begin(planned.Platforms)
		s.plan(planned)
		return
	}
	if s.opened {
		s.show(e)
		return
	}
	if out, is := e.(StepOutput); is {
		out.Data = bytes.Clone(out.Data)
		e = out
	}
	s.before = append(s.before, e)
}

// begin opens the renderers, unless that has been done, and shows what came before.
func (s *split) begin(platforms []string) {
	if s.opened {
		return
	}
	s.opened, s.platforms = true, platforms
	s.renderers, s.err = s.open(platforms)
	for _, e := range s.before {
		s.show(e)
	}
	s.before = nil
}

// plan shows each platform the instructions of its own.
func (s *split) plan(e Planned) {
	all := e.Instructions
	for i, r := range s.renderers {
		e.Instructions = nil
		for _, one := range all {
			if len(one.For) == 0 || i < len(s.platforms) && slices.Contains(one.For, s.platforms[i]) {
				e.Instructions = append(e.Instructions, one)
			}
		}
		r.Emit(e)
	}
}

func (s *split) show(e Event) {
	to := s.renderers
	switch e := e.(type) {
	case StepStarted:
		if to = s.of(e.For); len(to) < len(s.renderers) {
			s.steps[e.ID] = to
		}
	case StepOutput:
		to = s.at(e.ID)
	case Transfer:
		to = s.at(e.ID)
	case StepUsed:
		to = s.at(e.ID)
	case StepDone:
		to = s.at(e.ID)
		delete(s.steps, e.ID)
	}
	for _, r := range to {
		r.Emit(e)
	}
}

// of are the renderers of platforms; of none all.
func (s *split) of(platforms []string) (some []Renderer) {
	for i, r := range s.renderers {
		if len(platforms) == 0 || len(s.platforms) == 0 || slices.Contains(platforms, s.platforms[i]) {
			some = append(some, r)
		}
	}
	return some
}

// at are the renderers of a step.
func (s *split) at(id int) []Renderer {
	if some, known := s.steps[id]; known {
		return some
	}
	return s.renderers
}

// ShowsNotes tells whether the renderers show notes.
func (s *split) ShowsNotes() bool { return s.notes }

// Close implements Renderer.
func (s *split) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.err
	}
	s.begin(nil)
	s.closed = true
	for _, r := range s.renderers {
		s.err = errors.Join(s.err, r.Close())
	}
	return s.err
}
