package runstep

import (
	"sync"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/sshagent"
	"github.com/cooperbuild/cooper/build/stepinput"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// Setup says what the RUN steps of a build depend on.
type Setup struct {
	Inputs stepinput.Inputs
	Run    Options
	// Agents by ID are what ssh mounts reach.
	Agents map[string]*sshagent.Agent
	// StepName places a step for people, as in "[builder 2/5]".
	StepName func(*plan.Step) string
	// Tags are the names of the image, as cooper top shows them.
	Tags []string
}

// Room has the RUN steps of one build. It is safe for concurrent use. What it has open is closed with the roots.
type Room struct {
	Setup
	copies contextCopies
	// clonesDetached says that a step can be shown a view of a context, and not only the context itself. It is found out
	// when first asked.
	clonesDetached func() bool
	emulate        emulation
	running        running
}

// New makes it.
func New(s Setup) *Room {
	roots := s.Inputs.Roots
	r := &Room{
		Setup: s, copies: contextCopies{store: roots.Store, made: map[copyKey]*contextCopy{}},
		clonesDetached: sync.OnceValue(overlay.ClonesDetached), running: newRunning(roots.Identity.Owner.ID, roots.Progress),
	}
	roots.OnClose(r.copies.close)
	return r
}
