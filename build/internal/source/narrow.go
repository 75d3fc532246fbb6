package source

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Query says which files a COPY takes from a tree.
type Query struct {
	// Patterns are the sources as written: filepath.Match's patterns, component by component.
	Patterns []string
	// Filter hides files of the tree, which then count as missing; nil hides none.
	Filter Filter
	// Excludes are the patterns of --exclude, by the rules of an ignore file but without "#" comments. They match the
	// paths below a source that is a directory, and the name of a source that isn't.
	Excludes []string
	// Parents keeps the directories that a source is in, as --parents does. A source is then a pattern in which "**"
	// stands for any number of directories. A file that it matches keeps its path below the root or, if the source has a
	// "/./", below the directory before that. Symlinks after the "/./" are not followed.
	Parents bool
}

// narrowing is the part of a source directory that is taken, by paths below that directory.
type narrowing struct {
	// include has the patterns of the files that are taken, nil for all files; exclude those of files that aren't.
	include, exclude *Ignore
}

// newExcludes reads the patterns of --exclude; nil if there are none.
func newExcludes(patterns []string) (*Ignore, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	ig := &Ignore{name: "--exclude"}
	for _, text := range patterns {
		p, negate := strings.CutPrefix(strings.TrimSpace(text), "!")
		if err := ig.add(p, negate); err != nil {
			return nil, fmt.Errorf("--exclude=%s: %w", shownPattern(text), err)
		}
	}
	return ig, nil
}

// newInclude gives the include patterns for one source of --parents; nil for a source that is the whole directory.
func newInclude(pattern string) (*Ignore, error) {
	if pattern == "" {
		return nil, nil
	}
	ig := &Ignore{name: "--parents"}
	return ig, ig.add(pattern, false)
}

// add adds a pattern. A leading slash is ignored, as in an ignore file.
func (i *Ignore) add(text string, negate bool) error {
	clean := filepath.Clean(strings.TrimSpace(text))
	if len(clean) > 1 {
		clean = strings.TrimPrefix(clean, "/")
	}
	p := ignorePattern{text: clean, negate: negate, line: len(i.patterns) + 1}
	if err := p.compile(); err != nil {
		return err
	}
	i.patterns = append(i.patterns, p)
	return nil
}

// narrowed is a narrowing at one directory.
type narrowed struct {
	by *narrowing
	// cut is how many bytes of a path below the root precede the part below the source.
	cut                  int
	including, excluding ignoreState
	// included tells that all files of the directory are taken, save for excluded ones.
	included bool
}

// at gives the narrowing at the source directory itself, whose path below the root is root.
func (n *narrowing) at(root string) *narrowed {
	if n == nil || n.include == nil && n.exclude == nil {
		return nil
	}
	at := &narrowed{by: n, included: n.include == nil}
	if root != "" {
		at.cut = len(root) + 1
	}
	if n.include != nil {
		at.including = n.include.rootState()
	}
	if n.exclude != nil {
		at.excluding = n.exclude.rootState()
	}
	return at
}

// judge adds the narrowing's decision on rel to v, the filter's decision.
func (n *narrowed) judge(v verdict, rel string, dir bool) verdict {
	rel = rel[n.cut:]
	below := &narrowed{by: n.by, cut: n.cut, included: n.included}
	taken, reaches := true, true
	if !n.included {
		taken, below.including = n.by.include.match(rel, n.including)
		reaches = taken || dir && n.by.include.matchesBelow(rel)
		below.included = taken
	}
	if n.by.exclude != nil {
		var excluded bool
		excluded, below.excluding = n.by.exclude.match(rel, n.excluding)
		taken = taken && !excluded
		reaches = reaches && (!excluded || dir && n.by.exclude.mayMatchBelow(rel, below.excluding))
	}
	v.below.narrow = below
	if !taken {
		v.excluded, v.passing = true, !v.excluded
		v.hidden = !reaches
	}
	return v
}

// matchesBelow reports whether a pattern could match something below the directory rel.
func (i *Ignore) matchesBelow(rel string) bool {
	dirs := strings.Split(rel, "/")
	for n := range i.patterns {
		if i.patterns[n].mayMatchBelow(dirs) {
			return true
		}
	}
	return false
}

// excludes reports whether a source that isn't a directory is excluded by its name.
func (n *narrowing) excludes(name string) bool {
	if n == nil || n.exclude == nil {
		return false
	}
	excluded, _ := n.exclude.match(name, n.exclude.rootState())
	return excluded
}

// splitParents splits a source of --parents at its first "/./", if it has one: below base everything keeps its path.
func splitParents(source string) (base, pattern string) {
	base, pattern, found := strings.Cut(source, "/./")
	if !found {
		base, pattern = "/", source
	}
	if base == "" {
		base = "/"
	}
	return base, strings.TrimPrefix(path.Clean("/"+pattern), "/")
}
