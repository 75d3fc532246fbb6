package copystep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// gitAgentID is the ID of the agent of --ssh that git uses.
const gitAgentID = "default"

// maxSocketPath is the length in bytes of the longest path of a socket, see unix(7).
const maxSocketPath = 107

// openGitAgent makes the socket of the agent for git, and gives its path; "" if the build has no such agent.
func (r *Room) openGitAgent() (string, error) {
	if agent := r.Agents[gitAgentID]; agent != nil {
		return r.serveAgent(agent)
	}
	return "", nil
}

// serveAgent serves an agent at a new socket until the build ends. Programs that git runs may list keys and have data
// signed, and no more, like a step.
func (r *Room) serveAgent(agent *sshagent.Agent) (string, error) {
	path, remove, err := r.Inputs.Roots.Store.Parts().Scratch.Dir(context.Background())
	if err != nil {
		return "", err
	}

	dir, err := fsys.OpenDir(path)
	if err != nil {
		return "", errors.Join(err, remove())
	}

	path = filepath.Join(path, "agent")
	if len(path) > maxSocketPath {
		// A path through this process's descriptor is short, and git and ssh may open it: they run as the same user.
		path = fmt.Sprintf("/proc/%d/fd/%d/agent", os.Getpid(), dir.Fd())
	}

	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return "", errors.Join(err, dir.Close(), remove())
	}

	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the listener was closed
			}
			serving.Go(func() {
				_ = guard.Call(func() error { agent.Serve(ctx, conn); return nil }) // after a panic git sees a closed connection
				_ = conn.Close()
			})
		}
	})

	r.Inputs.Roots.OnClose(func() error {
		stop()
		err := listener.Close()
		serving.Wait()
		return errors.Join(err, dir.Close(), remove())
	})

	return path, nil
}
