package source

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Selected is one file or directory that a COPY names, with all symlinks followed.
type Selected struct {
	// Pattern is the source as written. Wildcard tells that it has wildcards, so that it may select several files.
	Pattern  string
	Wildcard bool
	// Name is the file's name in a destination directory: the last component as written or as matched.
	Name string
	// Path is the path below the root, without symlinks; "" for the root itself.
	Path string
	// Dir is a descriptor of the directory that the file is in, Base the file's name in it: to open the file, no component
	// of Path needs to be resolved again. Base is "." for the root. The Selection closes Dir.
	Dir  int
	Base string
	// Stat is the result of lstat. It may be out of date, so open the file with O_NOFOLLOW.
	Stat unix.Stat_t

	// narrow is the part of a directory that is selected; nil: all of it.
	narrow *narrowing
}

// IsDir reports whether the selected file is a directory.
func (s Selected) IsDir() bool { return s.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Entry gives the selected file in the form in which Walk gives files.
func (s Selected) Entry() Entry {
	dir, _ := path.Split(s.Path)
	kind := uint8(s.Stat.Mode & unix.S_IFMT >> 12)
	return Entry{Dir: s.Dir, Name: s.Base, Type: kind, dirPath: strings.TrimSuffix(dir, "/")}
}

// A Selection holds the files that a list of sources selects, in the order of the sources; the files that one pattern
// matches are sorted by name.
type Selection struct {
	Items []Selected
	// Missed has an error for each pattern that matched nothing.
	Missed []*NoMatchError

	root   *os.File
	filter Filter
	// dirs are descriptors of the items' directories by path; Close closes them.
	dirs map[string]int
}

// Close closes all directories.
func (s *Selection) Close() error {
	var errs []error
	for _, fd := range s.dirs {
		errs = append(errs, unix.Close(fd))
	}
	s.dirs = nil
	return errors.Join(errs...)
}

// Select finds the files that a COPY takes below root. The error for a source that doesn't exist is a *NoMatchError. As
// in docker, a pattern that matches nothing is no error, so that "COPY package.json yarn.lock* ./" works without a lock
// file, unless the directory with which it begins doesn't exist and nothing else was selected. Missed has such
// patterns. The caller closes the Selection.
func Select(root *os.File, q Query) (*Selection, error) {
	s := &Selection{root: root, filter: q.Filter, dirs: map[string]int{}}
	err := s.all(q)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Selection) all(q Query) error {
	exclude, err := newExcludes(q.Excludes)
	if err != nil {
		return err
	}

	for _, p := range q.Patterns {
		if q.Parents {
			err = s.addParents(p, exclude)
		} else {
			err = s.add(p, &narrowing{exclude: exclude})
		}
		var none *NoMatchError
		if errors.As(err, &none) && none.Wildcard {
			s.Missed = append(s.Missed, none)
			err = nil
		}
		if err != nil {
			return err
		}
	}

	for _, none := range s.Missed {
		if none.noDirectory && len(s.Items) == 0 {
			return none
		}
	}

	return nil
}

// addParents selects the files of one source of --parents.
func (s *Selection) addParents(source string, exclude *Ignore) error {
	base, pattern := splitParents(source)
	include, err := newInclude(pattern)
	if err != nil {
		return fmt.Errorf("source %q: %w", source, err)
	}
	first := len(s.Items)
	if err := s.add(base, &narrowing{include: include, exclude: exclude}); err != nil {
		return err
	}
	if strings.ContainsAny(base+pattern, `*?[\`) {
		return nil
	}
	for n := range s.Items[first:] {
		if err := s.require(source, s.Items[first+n].Path, pattern); err != nil {
			return err
		}
	}
	return nil
}

// require gives an error if a path without wildcards doesn't exist or leads through a symlink.
func (s *Selection) require(source, base, pattern string) error {
	p := strings.TrimPrefix(path.Join("/", base, pattern), "/")
	if p == "" {
		return nil
	}

	t, err := followFDs(s.root, path.Dir("/"+p), s.filter)
	defer t.close()
	if err != nil && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("find source %q: %w", source, err)
	}
	if err == nil && len(t.Links) > 0 {
		return fmt.Errorf("source %q: --parents follows no symlink, and there is %s: name the directory itself", source,
			t.Links[0])
	}

	if err != nil || len(t.Rest) > 0 {
		return s.noMatch(source, p, t)
	}
	name := path.Base(p)
	found, err := lookFD(t.Last(), p, name)
	switch {
	case errors.Is(err, errHidden):
		t.hidden = p
	case err != nil:
		return fmt.Errorf("find source %q: %w", source, err)
	case found.Kind == Directory:
		found.Dir.drop()
		return nil
	case found.Kind != Missing:
		return nil
	default:
		t.Rest, t.Kind = []string{name}, Missing
	}

	return s.noMatch(source, p, t)
}

// add selects the files of one source; of a directory it selects the part in narrow.
func (s *Selection) add(pattern string, narrow *narrowing) error {
	// As in docker the path is cleaned before it is looked up: "link/.." is the directory that holds the link.
	clean := strings.TrimPrefix(path.Clean("/"+pattern), "/")
	fixed, wild := splitWildcards(clean)
	if len(wild) == 0 {
		item := Selected{Pattern: pattern, Name: path.Base(clean), narrow: narrow}
		return s.resolve(item, fixed)
	}

	matches, err := s.glob(fixed, wild)
	switch {
	case errors.Is(err, filepath.ErrBadPattern):
		return fmt.Errorf("source %q: %w", pattern, err)
	case err != nil && !errors.Is(err, errNoDirectory):
		return fmt.Errorf("find source %q: %w", pattern, err)
	case len(matches) == 0:
		none := s.noMatch(pattern, clean, nil)
		none.noDirectory = err != nil
		return none
	}

	for _, m := range matches {
		item := Selected{Pattern: pattern, Wildcard: true, Name: path.Base(m), narrow: narrow}
		if err := s.resolve(item, m); err != nil {
			return err
		}
	}

	return nil
}

// resolve follows the path p and adds the file there to Items, with the fields of item.
func (s *Selection) resolve(item Selected, p string) error {
	t, err := followFDs(s.root, p, s.filter)
	defer t.close()
	if err != nil && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("find source %q: %w", item.Pattern, err)
	}
	if err != nil || len(t.Rest) > 1 || len(t.Rest) == 1 && t.Kind == Missing {
		return s.noMatch(item.Pattern, p, t)
	}

	dir, base := t.Names, "."
	switch {
	case len(t.Rest) == 1:
		base = t.Rest[0]
	case len(t.Names) > 0:
		dir, base = t.Names[:len(t.Names)-1], t.Names[len(t.Names)-1]
	}

	item.Path, item.Base = t.Path(), base
	if item.Dir, err = s.dir(t, dir); err != nil {
		return fmt.Errorf("open source %q: %w", item.Pattern, err)
	}

	item.Stat, err = fsys.LstatAt(item.Dir, base)
	if err != nil {
		return fmt.Errorf("stat source %q: %w", item.Pattern, err)
	}
	if item.IsDir() {
		visible, err := s.visible(t)
		if err != nil {
			return fmt.Errorf("read source %q: %w", item.Pattern, err)
		}
		if !visible {
			t.hidden = item.Path
			return s.noMatch(item.Pattern, p, t)
		}
	}

	// As in BuildKit --exclude doesn't apply to a file that the source names without wildcards.
	if item.IsDir() || !item.Wildcard || !item.narrow.excludes(item.Name) {
		s.Items = append(s.Items, item)
	}
	return nil
}

// dir gives a descriptor for the directory that names, the first of the trail's Names, lead to. The Selection closes
// it.
func (s *Selection) dir(t *fdTrail, names []string) (int, error) {
	key := strings.Join(names, "/")
	if fd, ok := s.dirs[key]; ok {
		return fd, nil
	}
	fd, err := fsys.Retry(func() (int, error) {
		// O_PATH, since a directory that can't be listed may have files that can be read.
		return unix.Openat(t.Dirs[len(names)].fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	s.dirs[key] = fd
	return fd, nil
}

// visible reports whether an excluded directory has a file that an exception makes visible.
func (s *Selection) visible(t *fdTrail) (bool, error) {
	if s.filter == nil || len(t.Names) == 0 {
		return true, nil
	}
	if excluded, _ := s.filter.Excluded(t.Path(), true); !excluded {
		return true, nil
	}
	found := false
	err := s.list(t.Last().fd, t.Path(), t.scope(), func(l listing) (bool, error) {
		found = found || !l.excluded
		return !found, nil
	})
	return found, err
}

// splitWildcards splits a clean path before its first component that holds a wildcard.
func splitWildcards(p string) (fixed string, wild []string) {
	parts := components(p)
	for n, part := range parts {
		if strings.ContainsAny(part, `*?[\`) {
			return strings.Join(parts[:n], "/"), parts[n:]
		}
	}
	return p, nil
}

// errNoDirectory means that the directory with which a pattern begins doesn't exist.
var errNoDirectory = errors.New("no such directory")

// glob returns the visible paths below fixed that match, sorted component by component. It doesn't follow symlinks
// below fixed, so that a pattern never leads out of that directory.
func (s *Selection) glob(fixed string, wild []string) ([]string, error) {
	for _, w := range wild {
		if _, err := filepath.Match(w, ""); err != nil {
			return nil, err
		}
	}
	t, err := followFDs(s.root, fixed, s.filter)
	defer t.close()
	if errors.Is(err, unix.ENOTDIR) || err == nil && len(t.Rest) > 0 {
		return nil, errNoDirectory
	}
	if err != nil {
		return nil, err
	}
	var matches []string
	err = s.globIn(globDir{fd: t.Last().fd, path: fixed, real: t.Path(), at: t.scope()}, wild, &matches)
	return matches, err
}

// globDir is a directory whose names are matched with a pattern. path is its path as the source has it, real its path
// without symlinks; both are below the root.
type globDir struct {
	fd         int
	path, real string
	at         scope
}

func (s *Selection) globIn(d globDir, wild []string, matches *[]string) error {
	entries, err := listMatching(d, wild[0])
	if err != nil {
		return err
	}

	for _, e := range entries {
		name := joinPath(d.path, e.Name)
		if len(wild) == 1 {
			*matches = append(*matches, name)
			continue
		}
		if e.Type != unix.DT_DIR {
			continue
		}
		fd, err := OpenDirectory(d.fd, e.Name)
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		err = s.globIn(globDir{fd: fd, path: name, real: joinPath(d.real, e.Name), at: e.below}, wild[1:], matches)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}

	return nil
}

// listMatching lists the visible names of d that match, sorted.
func listMatching(d globDir, pattern string) ([]listing, error) {
	var out []listing
	literal := !strings.ContainsAny(pattern, "*?[")
	err := readListing(d.fd, d.real, d.at, func(l listing) (bool, error) {
		matched, err := filepath.Match(pattern, l.Name)
		if matched || literal && l.Name == pattern {
			out = append(out, l)
		}
		return true, err
	})
	sort.Slice(out, func(a, b int) bool { return out[a].Name < out[b].Name })
	return out, err
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
