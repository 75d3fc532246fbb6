package runstep

import (
	"sync"

	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/stepnet"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// Setup holds what the RUN steps of a build depend on.
type Setup struct {
	Inputs stepinput.Inputs
	Run    Options
	// Agents are the SSH agents by ID, for ssh mounts.
	Agents map[string]*sshagent.Agent
	// StepName gives the place of a step for messages, as in "[builder 2/5]".
	StepName func(*plan.Step) string
	// Tags are the names of the image, as cooper top shows them.
	Tags []string
	// Mounts has the content of cache mounts from other machines; nil: there is none.
	Mounts MountSource
}

// Room carries out the RUN steps of one build. It is safe for concurrent use. The Close of the build's Roots closes
// what it has opened.
type Room struct {
	Setup
	copies contextCopies
	// clonesDetached tells whether the kernel can mount an overlay of a context for a step (Linux 6.15). The first call
	// finds out.
	clonesDetached func() bool
	emulate        emulation
	running        running
	networks       *stepnet.Networks
	groups         *executor.Groups // what the steps share that are limited
	// filter gives the system call filter of the steps, nil for the usual one. The first call makes it.
	filter func() (*executor.Filter, error)
}

// New makes the Room of a build.
func New(s Setup) *Room {
	roots := s.Inputs.Roots
	r := &Room{
		Setup: s, copies: contextCopies{store: roots.Store, made: map[copyKey]*contextCopy{}},
		clonesDetached: sync.OnceValue(overlay.ClonesDetached), running: newRunning(roots.Identity.User.ID, roots.Progress),
		networks: stepnet.New(s.Run.Options, roots.Progress),
	}
	r.groups = &executor.Groups{Tell: func(text string) { roots.Progress.Emit(progress.Note{Text: text}) }}
	r.filter = sync.OnceValues(func() (*executor.Filter, error) {
		caps, err := r.Run.caps()
		if err != nil {
			return nil, err
		}
		return r.Run.Filter(caps)
	})
	roots.OnClose(r.copies.close)
	roots.OnClose(r.networks.Close)
	return r
}
