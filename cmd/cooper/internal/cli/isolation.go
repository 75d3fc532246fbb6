package cli

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
	isolationOCI    = "oci"
)

func (r *runFlags) registerIsolation(f *pflag.FlagSet) {
	f.StringVar(&r.isolation, "isolation", "",
		"what runs RUN steps: native (cooper itself, the default), or oci (an OCI runtime)")
	f.Var((*nonEmpty)(&r.runtime), "runtime",
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
func (r *runFlags) isolate(o *build.RunOptions) error {
	switch r.isolation {
	case "", isolationOCI:
	case "default", "process", "rootless", "chroot":
		// What docker, podman and buildah call what needs no root, or is usual there: native isolates no less.
		r.isolation = isolationNative
	case isolationNative:
		if r.runtime != "" || r.keepBundle != "" {
			return errors.New("--isolation=native can't be used with --runtime or --keep-bundle, which are about OCI runtimes")
		}
	default:
		return fmt.Errorf("--isolation=%s: must be native or oci", r.isolation)
	}
	if r.runtime != "" {
		if err := build.CheckRuntimeName(r.runtime); err != nil {
			return fmt.Errorf("--runtime=%s: %w", r.runtime, err)
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

// findRuntime finds the runtime that the flags ask for, nil if they ask for none.
func (r *runFlags) findRuntime() (*build.Runtime, error) {
	if r.isolation != isolationOCI && r.runtime == "" && r.keepBundle == "" {
		return nil, nil //nolint:nilnil // cooper's own executor is a value
	}
	found, err := build.FindRuntime(context.Background(), r.runtime)
	if err != nil && !errors.Is(err, build.ErrMachine) {
		return nil, command.Usagef("--runtime=%s: %w", r.runtime, err)
	}
	return found, err
}
