package source

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Query says what a COPY takes from a tree.
type Query struct {
	// Patterns are the sources as written: filepath.Match's patterns, component by component.
	Patterns []string
	// Filter hides files of the tree; nil hides none. What it hides isn't there.
	Filter Filter
	// Excludes are the patterns of --exclude, with the rules of an ignore file's lines but for "#". They are about paths
	// below each source that is a directory, and about the name of one that isn't.
	Excludes []string
	// Parents keeps the directories that a source is in, as --parents does: a source is a pattern in which "**" stands for
	// any number of directories, and what it matches keeps its path below the root or, if the source has "/./", below what
	// comes before that. Symlinks after it are not followed.
	Parents bool
}

// narrowing is what of a source directory is taken, by paths below that directory.
type narrowing struct {
	// include is nil for everything; else its patterns match what is taken.
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

// newInclude is for one source of --parents; nil for a source that is the whole directory.
func newInclude(pattern string) (*Ignore, error) {
	if pattern == "" {
		return nil, nil
	}
	ig := &Ignore{name: "--parents"}
	return ig, ig.add(pattern, false)
}

// add adds a pattern. A slash at its beginning means nothing, as in an ignore file.
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
	// cut is how much of a path below the root isn't below the source.
	cut                  int
	including, excluding ignoreState
	// included says that all of the directory is, but for what is excluded.
	included bool
}

// at is the narrowing at the source itself, whose path below the root is given.
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

// judge adds to what the filter says of rel.
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
