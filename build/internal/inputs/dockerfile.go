package inputs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// maxDockerfile limits a Dockerfile's size; the largest in use are far below a megabyte.
const maxDockerfile = 16 << 20

// foundDockerfile is the text of a Dockerfile and the place where it was found.
type foundDockerfile struct {
	// name is the name of the file in messages: a path, a URL or "-".
	name string
	text []byte
	// path is the path of the file on this machine; inside is its path below the root of a context that isn't a local
	// directory. Both are empty if the text is in no file, as from a URL or standard input.
	path, inside string
}

// findDockerfile reads the Dockerfile of a name, or the one that goes with a context.
func (o opener) findDockerfile(ctx context.Context, p located, name string) (foundDockerfile, error) {
	switch {
	case p.dockerfile != nil && name == o.Dockerfile:
		return foundDockerfile{name: "-", text: p.dockerfile}, nil
	case name == Stdin:
		in := interruptible(ctx, o.Stdin)
		defer func() { _ = in.Close() }()
		text, err := readText(in, "standard input")
		return foundDockerfile{name: name, text: text}, err
	case remote.IsHTTP(name):
		return o.remoteDockerfile(ctx, name)
	case p.local:
		return localDockerfile(ctx, name, p.path)
	case filepath.IsAbs(name):
		// docker, too, takes such a path for a file of this machine when the context is remote.
		text, err := readDockerfile(ctx, name)
		return foundDockerfile{name: name, path: name, text: text}, err
	}
	return innerDockerfile(name, p)
}

// remoteDockerfile fetches a Dockerfile that -f names by its URL.
func (o opener) remoteDockerfile(ctx context.Context, rawURL string) (_ foundDockerfile, err error) {
	file, err := o.download(ctx, rawURL)
	if err != nil {
		return foundDockerfile{}, fmt.Errorf("read Dockerfile: %w", err)
	}
	defer func() { err = errors.Join(err, file.Release()) }()
	text, err := readDockerfile(ctx, file.Path)
	return foundDockerfile{name: remote.Redact(rawURL), text: text}, err
}

// usualNames are the names of Dockerfiles that are found without -f; the first that exists is taken.
func usualNames() []string { return []string{"Containerfile", "Dockerfile"} }

// localDockerfile reads the Dockerfile of a context that is a directory of the user's: in it, or anywhere with -f.
func localDockerfile(ctx context.Context, name, dir string) (foundDockerfile, error) {
	if name == "" {
		for _, name := range usualNames() {
			path := filepath.Join(dir, name)
			text, err := readDockerfile(ctx, path)
			if !errors.Is(err, os.ErrNotExist) {
				return foundDockerfile{name: path, path: path, text: text}, err
			}
		}
		return foundDockerfile{}, noDockerfile(dir)
	}
	text, err := readDockerfile(ctx, name)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(name) {
		// As with podman, a path that does not exist is tried below the context as well.
		path := filepath.Join(dir, name)
		if text, err2 := readDockerfile(ctx, path); !errors.Is(err2, os.ErrNotExist) {
			return foundDockerfile{name: path, path: path, text: text}, err2
		}
	}
	return foundDockerfile{name: name, path: name, text: text}, err
}

func noDockerfile(where string) error {
	return fmt.Errorf("find Dockerfile: %s has neither Containerfile nor Dockerfile\nhint: name it with -f FILE", where)
}

// innerDockerfile reads the Dockerfile inside a context that may be hostile.
func innerDockerfile(name string, p located) (foundDockerfile, error) {
	root, err := fsys.OpenDir(p.path)
	if err != nil {
		return foundDockerfile{}, err
	}
	defer func() { _ = root.Close() }()
	names := []string{name}
	if name == "" {
		names = usualNames()
	}

	for _, name := range names {
		f, err := source.OpenIn(root, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return foundDockerfile{}, fmt.Errorf("read Dockerfile in %s: %w", p.what, err)
		}
		text, err := readText(f, name)
		return foundDockerfile{name: name, inside: name, text: text}, errors.Join(err, f.Close())
	}

	if name == "" {
		return foundDockerfile{}, noDockerfile(p.what)
	}
	return foundDockerfile{}, fmt.Errorf("read Dockerfile: %s has no %s\nhint: -f is a path inside that context", p.what,
		name)
}

// findIgnore reads the ignore file of the main context: the one the user names, or what belongs to the Dockerfile and
// the context.
func (o opener) findIgnore(ctx context.Context, p located, d foundDockerfile) (*source.Ignore, error) {
	if o.IgnoreFile != "" {
		return readIgnore(ctx, o.IgnoreFile)
	}
	if d.inside == "" {
		return source.FindIgnore(d.path, p.path)
	}
	root, err := fsys.OpenDir(p.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return source.FindIgnoreIn(root, d.inside)
}
