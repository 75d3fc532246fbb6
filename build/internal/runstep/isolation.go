package runstep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
)

// A Runtime is an OCI runtime that RUN steps can be given to; see FindRuntime.
type Runtime = executor.Runtime

// FindRuntime finds an OCI runtime by its name, crun or runc, or by a path with a slash; for the empty name it finds
// the first of them that PATH has. If there is none, the error matches ErrMachine.
func FindRuntime(ctx context.Context, name string) (*Runtime, error) {
	found, err := executor.FindRuntime(ctx, name)
	if errors.Is(err, executor.ErrNoRuntime) {
		if name == "" {
			name = executor.RuntimeNames()[0]
		}
		return nil, fmt.Errorf(
			"%w: OCI runtime %w\nhint: install it (Debian, Ubuntu: apt-get install %[3]s; Fedora: dnf install %[3]s; Alpine: apk add %[3]s)",
			store.ErrMachine, err, name)
	}
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// CheckRuntimeName refuses names for which FindRuntime never finds a runtime.
func CheckRuntimeName(name string) error {
	if strings.Contains(name, "/") {
		return nil
	}
	for _, known := range executor.RuntimeNames() {
		if name == known {
			return nil
		}
	}
	return fmt.Errorf("must be %s, or a path with a slash", strings.Join(executor.RuntimeNames(), ", "))
}

// CheckKeepBundle refuses a directory that isn't empty: the files of this build couldn't be told from the others.
func CheckKeepBundle(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if target, linkErr := os.Readlink(dir); linkErr == nil {
			return fmt.Errorf("it is a symbolic link to %s, which isn't there: give a new directory", target)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read directory: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: give a new directory", dir)
	}
	return nil
}

// isolate sets the step's Runtime and the directory that its bundle is kept in. The caller calls done when the step has
// ended.
func (o Options) isolate(s *executor.Step, c runCall) (done func() error, err error) {
	done = func() error { return nil }
	s.Runtime = o.Runtime
	if o.Runtime == nil || o.KeepBundle == "" {
		return done, nil
	}
	dir, err := outfile.MakeDir(o.KeepBundle)
	if err != nil {
		return done, fmt.Errorf("--keep-bundle: %w", err)
	}
	s.KeepBundle = fmt.Sprintf("/proc/self/fd/%d/%d", dir.Fd(), c.step.ID+1) // as progress shows it
	for _, m := range c.op.Mounts {
		if m.Env != "" {
			s.SecretEnv = append(s.SecretEnv, m.Env)
		}
	}
	s.SecretEnv = append(s.SecretEnv, plan.ProxyNames()...) // proxy variables may have passwords
	return dir.Close, nil
}
