package source

import (
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// The bounds of a search for names that look like a missing one: how many are given, how many are looked at, and how
// many bytes they may have.
const (
	maxNear    = 3
	maxLooked  = 20_000
	maxNameLen = unix.NAME_MAX
)

// noMatch makes the error for a source that doesn't exist. t is the trail on which it could be followed, nil for a
// pattern; the caller must not use it afterwards.
func (s *Selection) noMatch(pattern, clean string, t *fdTrail) *NoMatchError {
	e := &NoMatchError{Pattern: pattern, Wildcard: t == nil, Outside: leadsOut(pattern)}
	if t != nil && t.hidden != "" {
		e.Excluded = s.why(t.hidden)
		return e
	}
	if t == nil {
		e.Excluded = s.whyWild(clean)
		if e.Excluded == "" {
			e.Near = s.sameName(path.Base(clean))
		}
		return e
	}
	if n := len(t.Links); n > 0 {
		e.Link = t.Links[n-1]
		return e
	}
	e.Near = near(t)
	if len(e.Near) == 0 {
		e.Near = s.sameName(path.Base(clean))
	}
	return e
}

func (s *Selection) why(rel string) string {
	if line := newScope(s.filter).explain(rel); line != "" {
		return line
	}
	return "the ignore rules"
}

// whyWild says why a pattern matches nothing if it would match without the filter.
func (s *Selection) whyWild(clean string) string {
	if s.filter == nil {
		return ""
	}
	open := &Selection{root: s.root}
	fixed, wild := splitWildcards(clean)
	matches, err := open.glob(fixed, wild)
	if err != nil || len(matches) == 0 {
		return ""
	}
	return s.why(matches[0])
}

// near finds names that look like the one at which the trail ends, in the same directory.
func near(t *fdTrail) []string {
	if t.Kind != Missing || len(t.Rest) == 0 || len(t.Rest[0]) > maxNameLen {
		return nil
	}
	want := t.Rest[0]
	limit := max(1, min(3, len(want)/3))
	type candidate struct {
		name string
		far  int
	}

	var all []candidate
	looked := 0
	// The error is dropped: without a list of names there is no suggestion.
	_ = readListing(t.Last().fd, "", t.scope(), func(l listing) (bool, error) {
		looked++
		if far := distance(want, l.Name, limit); far <= limit {
			all = append(all, candidate{l.Name, far})
		}
		return looked < maxLooked, nil
	})

	sort.Slice(all, func(a, b int) bool {
		if all[a].far != all[b].far {
			return all[a].far < all[b].far
		}
		return all[a].name < all[b].name
	})

	var out []string
	for _, c := range all[:min(maxNear, len(all))] {
		parts := append(append(append([]string(nil), t.Names...), c.name), t.Rest[1:]...)
		out = append(out, strings.Join(parts, "/"))
	}

	return out
}

// sameName finds files of the same name in other directories.
func (s *Selection) sameName(base string) []string {
	t, err := followFDs(s.root, "", s.filter)
	defer t.close()
	if err != nil {
		return nil
	}
	var out []string
	looked := 0
	search := nameSearch{base: base, looked: &looked, out: &out}
	search.in(t.Last().fd, "", t.scope())
	sort.Strings(out)
	return out
}

// nameSearch looks for files of one name below a directory. looked counts the names that it has looked at.
type nameSearch struct {
	base   string
	looked *int
	out    *[]string
}

func (s nameSearch) in(fd int, rel string, at scope) {
	var deeper []listing
	_ = readListing(fd, rel, at, func(l listing) (bool, error) {
		*s.looked++
		if matched, _ := path.Match(s.base, l.Name); (matched || l.Name == s.base) && !l.excluded {
			*s.out = append(*s.out, joinPath(rel, l.Name))
		}
		if l.Type == unix.DT_DIR {
			deeper = append(deeper, l)
		}
		return s.more(), nil
	})
	for _, l := range deeper {
		if !s.more() || len(rel) > maxPath {
			return
		}
		if sub, err := OpenDirectory(fd, l.Name); err == nil {
			s.in(sub, joinPath(rel, l.Name), l.below)
			_ = unix.Close(sub)
		}
	}
}

func (s nameSearch) more() bool { return *s.looked < maxLooked && len(*s.out) < maxNear }
