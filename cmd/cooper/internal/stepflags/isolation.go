package stepflags

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// What runs RUN steps.
const (
	isolationNative = "native"
	IsolationOCI    = "oci"
)

func (r *Run) registerIsolation(f *pflag.FlagSet) {
	f.StringVar(&r.Isolation, "isolation", "",
		"what runs RUN steps: native (cooper itself, the default), or oci (an OCI runtime)")
	f.Var((*nonEmpty)(&r.Runtime), "runtime",
		"OCI runtime for RUN steps: crun, runc or a path with a slash (default the first of them in PATH); implies --isolation=oci")
	f.Var((*nonEmpty)(&r.keepBundle), "keep-bundle",
		"new directory for the config.json of each RUN step, without secrets; implies --isolation=oci")
}

// nonEmpty is a string that is either not given or says something.
type nonEmpty string

var _ pflag.Value = (*nonEmpty)(nil)

func (n *nonEmpty) String() string { return string(*n) }

// Type is what help shows for the value.
func (*nonEmpty) Type() string { return "string" }

// Set refuses a text that is empty, which is a variable of a script that was forgotten.
func (n *nonEmpty) Set(text string) error {
	if text == "" {
		return errors.New("must not be empty")
	}
	*n = nonEmpty(text)
	return nil
}

// isolate reads the flags about what runs RUN steps, but doesn't look for the runtime.
func (r *Run) isolate(o *build.RunOptions) error {
	switch r.Isolation {
	case "", IsolationOCI:
	case "default", "process", "rootless", "chroot":
		// What docker, podman and buildah call what needs no root, or is usual there: native isolates no less.
		r.Isolation = isolationNative
	case isolationNative:
		if r.Runtime != "" || r.keepBundle != "" {
			return errors.New("--isolation=native can't be used with --runtime or --keep-bundle, which are about OCI runtimes")
		}
	default:
		return fmt.Errorf("--isolation=%s: must be native or oci", r.Isolation)
	}
	if r.Runtime != "" {
		if err := build.CheckRuntimeName(r.Runtime); err != nil {
			return fmt.Errorf("--runtime=%s: %w", r.Runtime, err)
		}
	}
	if r.keepBundle == "" {
		return nil
	}
	dir, err := filepath.Abs(r.keepBundle)
	if err == nil {
		err = build.CheckKeepBundle(dir)
	}
	if err != nil {
		return fmt.Errorf("--keep-bundle=%s: %w", r.keepBundle, err)
	}
	o.KeepBundle = dir
	return nil
}

// FindRuntime finds the runtime that the flags ask for, nil if they ask for none.
func (r *Run) FindRuntime() (*build.Runtime, error) {
	if r.Isolation != IsolationOCI && r.Runtime == "" && r.keepBundle == "" {
		return nil, nil //nolint:nilnil // cooper's own executor is a value
	}
	found, err := build.FindRuntime(context.Background(), r.Runtime)
	if err != nil && !errors.Is(err, build.ErrMachine) {
		return nil, command.Usagef("--runtime=%s: %w", r.Runtime, err)
	}
	return found, err
}
