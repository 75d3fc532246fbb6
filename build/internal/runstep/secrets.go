package runstep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/leak"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
)

// addSecrets gives a step the secrets that it mounts: files in memory, environment variables, or both. They are in no
// cache key, and no error shows one.
// It gives the secrets by ID.
func (r *Room) addSecrets(ctx context.Context, s *executor.Step, op *plan.Run) (map[string][]byte, error) {
	mounted := map[string][]byte{}
	for _, m := range op.Mounts {
		if m.Type != plan.MountSecret {
			continue
		}
		secret, given, err := r.Run.secret(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		if !given {
			if m.Required {
				return nil, fmt.Errorf(
					"the secret %q is required, and the build has none of that ID%s\nhint: give --secret id=%[1]s,src=FILE or --secret id=%[1]s,env=VARIABLE",
					m.ID, ids(r.Run.allSecrets()))
			}
			continue
		}

		mounted[m.ID] = secret
		if m.Target != "" {
			s.Files = append(s.Files, executor.File{Path: m.Target, Mode: m.Mode, UID: m.UID, GID: m.GID, Data: secret})
		}
		if m.Env != "" {
			if bytes.IndexByte(secret, 0) >= 0 {
				return nil, fmt.Errorf("the secret %q has a zero byte and can't be a variable: mount it as a file, without env=%s",
					m.ID,
					m.Env)
			}
			s.Env = append(s.Env, m.Env+"="+string(secret))
		}
	}

	return mounted, nil
}

// secret gives the secret with an ID, if there is one.
func (o Options) secret(ctx context.Context, id string) (secret Secret, given bool, err error) {
	fetch := o.SecretCommands[id]
	if fetch == nil {
		secret, given = o.Secrets[id]
		return secret, given, nil
	}
	if secret, err = fetch(ctx); err != nil {
		return nil, false, fmt.Errorf("the secret %q: its command: %w", id, err)
	}
	return secret, true, nil
}

// warnOfLeaks says which secrets the step of that name wrote to its layer. A root that isn't a directory of what was
// written isn't looked at, since that would take as long as the image is large.
func warnOfLeaks(to progress.Sink, step string, root executor.Rootfs, secrets map[string][]byte) {
	if len(secrets) == 0 || root.Upper == nil {
		return
	}
	found, err := leak.Search(root.Upper, secrets)
	for _, f := range found {
		to.Emit(progress.Note{Text: fmt.Sprintf(
			"%s wrote the secret %q to /%s, which is in its layer: everybody who gets the image can read it",
			step, f.Secret, f.Path)})
	}
	if err != nil {
		to.Emit(progress.Note{Text: fmt.Sprintf("%s: what it wrote can't be searched for secrets: %v", step, err)})
	}
}

// addAgents gives a step the SSH agents it mounts.
func addAgents(agents map[string]*sshagent.Agent, s *executor.Step, op *plan.Run) error {
	for _, m := range op.Mounts {
		if m.Type != plan.MountSSH {
			continue
		}
		agent := agents[m.ID]
		if agent == nil {
			if m.Required {
				return fmt.Errorf("the SSH agent %q is required, and the build has none of that ID%s\nhint: give --ssh %[1]s, or --ssh %[1]s=SOCKET or =KEYFILE",
					m.ID, ids(agents))
			}
			continue
		}
		s.Sockets = append(s.Sockets, executor.Socket{Path: m.Target, Mode: m.Mode & 0o777, UID: m.UID, GID: m.GID,
			Serve: agent.Serve})
	}
	return nil
}

// volume opens a directory or file of the host. Its files keep their owners, unless MapOwners is set: otherwise the
// steps of real root could make setuid programs of the host's root there.
func (r *Room) volume(ctx context.Context, v Volume, ns rootfs.NS) (executor.Mount, func() error, error) {
	em := executor.Mount{Kind: executor.Bind, Target: v.Target, ReadOnly: v.ReadOnly, IDMapped: !v.MapOwners}
	if v.MapOwners && ns.Shifted {
		return em, nil, errors.New("the option idmap is for real root: nobody else can map the owners of a directory")
	}
	fd, err := unix.Open(v.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return em, nil, &os.PathError{Op: "open", Path: v.Source, Err: err}
	}
	em.Source = os.NewFile(uintptr(fd), v.Source)
	release := em.Source.Close
	if !v.Discard || v.ReadOnly {
		return em, release, nil
	}
	return r.withScratch(ctx, em, release)
}
