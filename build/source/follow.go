package source

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks one path may lead through, as in the kernel.
const maxLinks = 40

// maxPath is the longest path below a root in bytes; a longer one couldn't be named in the image either.
const maxPath = unix.PathMax - 1

// A Kind is what a name stands for, as far as following a path is concerned.
type Kind int

// The kinds of Found.
const (
	// Missing is the zero value.
	Missing Kind = iota
	Directory
	Link
	// Other is a file that is neither.
	Other
)

// Found is what a look-up of one name in one directory gives.
type Found[N any] struct {
	Kind Kind
	// Dir is the directory, if it is one.
	Dir N
	// Target is what a link says.
	Target string
}

// A Finder looks one name up in a directory; at are the names that lead to the directory.
type Finder[N any] func(dir N, at []string, name string) (Found[N], error)

// A Trail is where a path leads: no symlinks and no ".." are left in it.
type Trail[N any] struct {
	// Dirs are the directories on the way, the root first. Names are theirs without the root's: one less.
	Dirs  []N
	Names []string
	// Rest is what is left after the last of Dirs: nothing if the path leads to a directory; else Rest[0] is what Kind,
	// Missing or Other, says.
	Rest []string
	Kind Kind
	// Links are the symlinks passed through, with where they point to, for messages.
	Links []string
}

// Path is where the trail leads, relative to the root; "" for the root.
func (t Trail[N]) Path() string {
	return strings.Join(append(append([]string(nil), t.Names...), t.Rest...), "/")
}

// Last is the deepest directory of the trail.
func (t Trail[N]) Last() N { return t.Dirs[len(t.Dirs)-1] }

// Follow resolves path from root on, one component after the other, as if root were "/": neither ".." nor an absolute
// symlink leads out of it. Missing components are no error. drop is called for each directory found and left again;
// the directories of the trail are the caller's, even if there is an error.
func Follow[N any](root N, path string, find Finder[N], drop func(N)) (Trail[N], error) {
	t := Trail[N]{Dirs: []N{root}}
	if len(path) > maxPath {
		return t, unix.ENAMETOOLONG
	}
	todo := components(path)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			if err := t.up(drop); err != nil {
				return t, err
			}
			continue
		}
		if len(t.Rest) > 0 {
			if t.Kind == Other {
				return t, fmt.Errorf("/%s: %w", t.Path(), unix.ENOTDIR)
			}
			t.Rest = append(t.Rest, name)
			continue
		}
		found, err := find(t.Last(), t.Names, name)
		if err != nil {
			return t, err
		}
		switch found.Kind {
		case Directory:
			t.Dirs, t.Names = append(t.Dirs, found.Dir), append(t.Names, name)
		case Link:
			if err := t.link(name, found.Target, drop); err != nil {
				return t, err
			}
			todo = append(components(found.Target), todo...)
		default:
			t.Rest, t.Kind = append(t.Rest, name), found.Kind
		}
	}
	return t, nil
}

// up takes back the last component.
func (t *Trail[N]) up(drop func(N)) error {
	switch {
	case len(t.Rest) > 0 && t.Kind == Other:
		return fmt.Errorf("/%s: %w", t.Path(), unix.ENOTDIR)
	case len(t.Rest) > 0:
		// What is missing would be made as a plain directory, and so ".." undoes it.
		t.Rest = t.Rest[:len(t.Rest)-1]
	case len(t.Names) > 0:
		drop(t.Last())
		t.Dirs, t.Names = t.Dirs[:len(t.Dirs)-1], t.Names[:len(t.Names)-1]
	}
	return nil
}

// link notes a symlink and goes back to the root if it is absolute.
func (t *Trail[N]) link(name, target string, drop func(N)) error {
	at := strings.Join(append(append([]string(nil), t.Names...), name), "/")
	t.Links = append(t.Links, at+" -> "+target)
	if len(t.Links) > maxLinks {
		return fmt.Errorf("/%s: %w", at, unix.ELOOP)
	}
	if strings.HasPrefix(target, "/") {
		for len(t.Names) > 0 {
			if err := t.up(drop); err != nil {
				return err
			}
		}
	}
	return nil
}

// components splits a path and leaves out what says nothing.
func components(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	return out
}
