package runstep

import (
	"fmt"

	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
)

// A Runtime is an OCI runtime that RUN steps can be given to.
type Runtime = executor.Runtime

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
