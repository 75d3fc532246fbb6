package copystep

import (
	"sync"

	"github.com/cooperbuild/cooper/build/sshagent"
	"github.com/cooperbuild/cooper/build/stepinput"
)

// Options say what the steps that put files into a root depend on.
type Options struct {
	Inputs stepinput.Inputs
	// Agents by ID are those of --ssh; git uses that of the ID "default".
	Agents map[string]*sshagent.Agent
	// ReadDirs are the directories below which ADD may read git repositories by file://.
	ReadDirs []string
}

// Room has the steps of one build that put files into a root. It is safe for concurrent use. What it has open is closed
// with the roots.
type Room struct {
	Options
	// gitAgent is the socket of the agent that git uses, made when first needed; empty: none.
	gitAgent func() (string, error)
}

// New makes it.
func New(o Options) *Room {
	r := &Room{Options: o}
	r.gitAgent = sync.OnceValues(r.openGitAgent)
	return r
}
