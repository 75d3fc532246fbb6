package runtimes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/executor"
)

// FindRuntime finds an OCI runtime by its name, crun or runc, or by a path with a slash; for the empty name it finds
// the first of them that PATH has. If there is none, the error matches ErrMachine.
func FindRuntime(ctx context.Context, name string) (*executor.Runtime, error) {
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
