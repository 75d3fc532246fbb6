package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FindIgnore reads the ignore file that belongs to a build from a directory: DOCKERFILE.dockerignore or
// DOCKERFILE.containerignore beside the Dockerfile, or .containerignore or .dockerignore in the context; nil if there
// is none of them. dockerfilePath may be empty (stdin). Only the first that exists counts, even if it is empty.
func FindIgnore(dockerfilePath, contextDir string) (*Ignore, error) {
	if dockerfilePath != "" {
		ig, err := openIgnores(filepath.Dir(dockerfilePath), besides(filepath.Base(dockerfilePath)))
		if ig != nil || err != nil {
			return ig, err
		}
	}
	return openIgnores(contextDir, inContext())
}

// FindIgnoreIn is FindIgnore for a Dockerfile inside the context at root; symlinks are followed inside of it only.
func FindIgnoreIn(root *os.File, dockerfile string) (*Ignore, error) {
	names := inContext()
	if dockerfile != "" {
		names = append(besides(dockerfile), names...)
	}
	return readIgnores(root, names)
}

func besides(dockerfile string) []string {
	return []string{dockerfile + ".dockerignore", dockerfile + ".containerignore"}
}

func inContext() []string { return []string{".containerignore", ".dockerignore"} }

// openIgnores reads the first of the named ignore files that exists in the directory at the path dir; nil if none does.
func openIgnores(dir string, names []string) (*Ignore, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", names[0], err)
	}
	defer func() { _ = root.Close() }()
	return readIgnores(root, names)
}

func readIgnores(root *os.File, names []string) (*Ignore, error) {
	for _, name := range names {
		f, err := OpenIn(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		ig, err := ParseIgnore(name, f)
		return ig, errors.Join(err, f.Close())
	}
	return nil, nil //nolint:nilnil // the nil Ignore hides nothing
}
