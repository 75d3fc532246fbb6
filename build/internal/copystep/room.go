package copystep

import (
	"sync"

	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
)

// Options hold what the steps that put files into a root depend on.
type Options struct {
	Inputs stepinput.Inputs
	// Agents are the agents of --ssh by ID; git uses the one with the ID "default".
	Agents map[string]*sshagent.Agent
	// ReadDirs are the directories below which ADD may read git repositories by file://.
	ReadDirs []string
}

// Room carries out the steps of one build that put files into a root. It is safe for concurrent use. The Close of the
// build's Roots closes what it has opened.
type Room struct {
	Options
	// gitAgent gives the path of the socket of git's agent, "" if there is none. The first call makes the socket.
	gitAgent func() (string, error)
}

// New makes the Room of a build.
func New(o Options) *Room {
	r := &Room{Options: o}
	r.gitAgent = sync.OnceValues(r.openGitAgent)
	return r
}
