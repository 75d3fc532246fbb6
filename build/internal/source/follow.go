package source

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks one path may lead through, as in the kernel.
const maxLinks = 40

// maxPath is the length in bytes of the longest path below a root; no process could use a longer one in the image
// either.
const maxPath = unix.PathMax - 1

// A Kind is the kind of file that a name is, as far as following a path needs it.
type Kind int

// The kinds of Found.
const (
	// Missing is the zero value.
	Missing Kind = iota
	Directory
	Link
	// Other is a file that is neither a directory nor a symlink.
	Other
)

// Found is the result of looking one name up in one directory.
type Found[N any] struct {
	Kind Kind
	// Dir is the directory, if Kind is Directory.
	Dir N
	// Target is the symlink's target, if Kind is Link.
	Target string
}

// A Finder looks one name up in a directory; at are the names that lead to the directory.
type Finder[N any] func(dir N, at []string, name string) (Found[N], error)

// A Trail is the way on which a path leads, without symlinks and "..".
type Trail[N any] struct {
	// Dirs are the directories on the way, the root first. Names are their names; the root has none, so Names is one
	// shorter.
	Dirs  []N
	Names []string
	// Rest are the components that follow the last of Dirs: none if the path leads to a directory. Otherwise Kind, Missing
	// or Other, is that of Rest[0].
	Rest []string
	Kind Kind
	// Links are the symlinks that the path leads through, as "name -> target", for messages.
	Links []string
}

// Path gives the path that the trail leads to, relative to the root; "" for the root.
func (t Trail[N]) Path() string {
	return strings.Join(append(append([]string(nil), t.Names...), t.Rest...), "/")
}

// Last is the deepest directory of the trail.
func (t Trail[N]) Last() N { return t.Dirs[len(t.Dirs)-1] }

// Follow resolves path from root on, one component after the other, as if root were "/": neither ".." nor an absolute
// symlink leads out of it. Missing components are no error. drop is called for each directory that was found and left
// again; the caller closes the directories of the trail, even after an error.
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

// up follows "..": it removes the last component.
func (t *Trail[N]) up(drop func(N)) error {
	switch {
	case len(t.Rest) > 0 && t.Kind == Other:
		return fmt.Errorf("/%s: %w", t.Path(), unix.ENOTDIR)
	case len(t.Rest) > 0:
		// A missing component would be made as a directory, not a symlink, so ".." leads back from it.
		t.Rest = t.Rest[:len(t.Rest)-1]
	case len(t.Names) > 0:
		drop(t.Last())
		t.Dirs, t.Names = t.Dirs[:len(t.Dirs)-1], t.Names[:len(t.Names)-1]
	}
	return nil
}

// link records a symlink, and goes back to the root if its target is absolute.
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

// components splits a path, without empty components and ".".
func components(path string) []string {
	var out []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			out = append(out, part)
		}
	}
	return out
}
