package copystep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/cooperbuild/cooper/build/sshagent"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// gitAgentID is the agent of --ssh that git uses.
const gitAgentID = "default"

// maxSocketPath is how long the path of a socket can be, in bytes, see unix(7).
const maxSocketPath = 107

// openGitAgent makes the socket that git finds its keys at, "" if the build has none.
func (r *Room) openGitAgent() (string, error) {
	if agent := r.Agents[gitAgentID]; agent != nil {
		return r.serveAgent(agent)
	}
	return "", nil
}

// serveAgent answers at a socket of its own until the build ends: what git runs may list keys and have data signed,
// like a step.
func (r *Room) serveAgent(agent *sshagent.Agent) (string, error) {
	path, remove, err := r.Inputs.Roots.Store.TempDir(context.Background())
	if err != nil {
		return "", err
	}
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return "", errors.Join(err, remove())
	}
	path = filepath.Join(path, "agent")
	if len(path) > maxSocketPath {
		// By this process's descriptor: git and ssh are the same user in the same namespace.
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
				return // closed
			}
			serving.Go(func() {
				_ = guard.Call(func() error { agent.Serve(ctx, conn); return nil }) // git sees that it is hung up
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
