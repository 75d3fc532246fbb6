package inputs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// includes read the files that a Dockerfile includes. They lie in the context, or beside a Dockerfile that is not in
// it: a Dockerfile of somebody else's gets at no other file of this machine.
type includes struct {
	// root is the directory that they are read below; empty: there is none.
	root string
	// shown is what the directory is called in names.
	shown string
	// inside are the paths below root of the files that were read so far, by name.
	inside map[string]string
}

// includes are those of the Dockerfile that goes with a context.
func (o opener) includes(_ context.Context, p located, main foundDockerfile) includes {
	in := includes{inside: map[string]string{}}
	switch {
	case main.inside != "":
		in.root, in.inside[main.name] = p.path, main.inside
	case main.path != "":
		in.root, in.shown = filepath.Dir(main.path), filepath.Dir(main.path)
		in.inside[main.name] = filepath.Base(main.path)
		if rel, err := relative(p, main.path); err == nil {
			in.root, in.shown, in.inside[main.name] = p.path, p.path, rel
		}
	case p.path != "": // of standard input or a URL: relative to the context
		in.root, in.shown, in.inside[main.name] = p.path, "", "-"
	}
	return in
}

// relative is the path of a Dockerfile below a context that is a directory of the user's.
func relative(p located, file string) (string, error) {
	if !p.local {
		return "", errors.New("the context is another place")
	}
	rel, err := filepath.Rel(p.path, file)
	if err == nil && !filepath.IsLocal(rel) {
		err = errors.New("the file is outside of the context")
	}
	return rel, err
}

// read is a [dockerfile.Includer].
func (in includes) read(from, name string) (dockerfile.Text, error) {
	base, known := in.inside[from]
	if in.root == "" || !known {
		return dockerfile.Text{}, errors.New("there is no directory to take it from")
	}
	inside := path.Join(path.Dir(filepath.ToSlash(base)), name)
	if strings.HasPrefix(name, "/") {
		inside = strings.TrimPrefix(path.Clean(name), "/")
	}
	if !filepath.IsLocal(inside) {
		return dockerfile.Text{}, errors.New("it leads out of the directory of the build")
	}
	root, err := fsys.OpenDir(in.root)
	if err != nil {
		return dockerfile.Text{}, err
	}
	defer func() { _ = root.Close() }() // it was only read
	f, err := source.OpenIn(root, inside)
	if errors.Is(err, os.ErrNotExist) {
		return dockerfile.Text{}, fmt.Errorf("there is no file %s", inside)
	}
	if err != nil {
		return dockerfile.Text{}, err
	}
	text, err := readText(f, inside)
	shown := filepath.Join(in.shown, inside)
	in.inside[shown] = inside
	return dockerfile.Text{Name: shown, Text: text}, errors.Join(err, f.Close())
}
