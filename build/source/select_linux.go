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
	// Pattern is the source as written. Wildcard says that it is a pattern, which may select several.
	Pattern  string
	Wildcard bool
	// Name is what a file is called in a destination directory: the last component as written or as matched.
	Name string
	// Path is where it is below the root, without symlinks; "" for the root itself.
	Path string
	// Dir and Base open it: no component of Path needs to be resolved again. Base is "." for the root. Dir belongs to the
	// Selection.
	Dir  int
	Base string
	// Stat is what lstat said. It may be out of date, so open with O_NOFOLLOW.
	Stat unix.Stat_t

	// narrow says what of a directory is selected; nil: all of it.
	narrow *narrowing
}

// IsDir reports whether it is a directory.
func (s Selected) IsDir() bool { return s.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Entry is the selected file as Walk would meet it.
func (s Selected) Entry() Entry {
	dir, _ := path.Split(s.Path)
	kind := uint8(s.Stat.Mode & unix.S_IFMT >> 12)
	return Entry{Dir: s.Dir, Name: s.Base, Type: kind, dirPath: strings.TrimSuffix(dir, "/")}
}

// A Selection is what a list of sources selects, in their order; what one pattern matches is sorted by name.
type Selection struct {
	Items []Selected
	// Missed are the patterns that matched nothing.
	Missed []*NoMatchError

	root   *os.File
	filter Filter
	// dirs are the open directories by path.
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

// Select finds what a COPY takes below root. A source that isn't there is a *NoMatchError. A pattern that matches
// nothing is none, as with docker, unless the directory it begins with isn't there and nothing else was selected: so
// that "COPY package.json yarn.lock* ./" works without a lock file. Missed tells which. The caller closes the
// Selection.
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

// addParents selects what one source of --parents means.
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

// require gives the error for a path without wildcards that leads to nothing, or through a symlink.
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

// add selects what one source means, and of what is a directory the part that narrow says.
func (s *Selection) add(pattern string, narrow *narrowing) error {
	// Cleaning before anything is looked up is docker's rule: "link/.." is the directory of the link.
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

// resolve follows p and appends what is there.
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
	// As with BuildKit --exclude is about what a source turns out to be, not about a file that is named.
	if item.IsDir() || !item.Wildcard || !item.narrow.excludes(item.Name) {
		s.Items = append(s.Items, item)
	}
	return nil
}

// dir gives a descriptor, owned by the selection, for the directory that names, a prefix of the trail's, lead to.
func (s *Selection) dir(t *fdTrail, names []string) (int, error) {
	key := strings.Join(names, "/")
	if fd, ok := s.dirs[key]; ok {
		return fd, nil
	}
	fd, err := fsys.Retry(func() (int, error) {
		// O_PATH, for a directory need not be readable for a file in it to be.
		return unix.Openat(t.Dirs[len(names)].fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	s.dirs[key] = fd
	return fd, nil
}

// visible reports whether an excluded directory has anything in it that an exception shows.
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

// errNoDirectory says that the directory a pattern begins with isn't there.
var errNoDirectory = errors.New("no such directory")

// glob returns the visible paths below fixed that match, sorted as a walk would meet them. Symlinks on the way below
// fixed aren't followed: a pattern doesn't lead out of the directory it is about.
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

// globDir is a directory in which a pattern is looked for: path is how the source gets there, real where it is.
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
