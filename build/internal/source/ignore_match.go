package source

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// ignoreState tells for each pattern, by its index, whether it matches a directory or one of its parents, and so every
// file below that.
type ignoreState []bool

func (i *Ignore) rootState() ignoreState { return make(ignoreState, len(i.patterns)) }

// match decides on rel, whose parent directory has the given state, and returns the state of rel itself.
// It equals patternmatcher's MatchesUsingParentResults, but leaves out patterns that can't match at this depth: most
// can't.
func (i *Ignore) match(rel string, parent ignoreState) (bool, ignoreState) {
	depth := strings.Count(rel, "/") + 1
	excluded := false
	state := make(ignoreState, len(i.patterns))
	for n := range i.patterns {
		p := &i.patterns[n]
		// A pattern that wouldn't change the result isn't matched, and counts as not matching for the files below, too.
		if parent[n] || p.negate == excluded && p.matches(rel, depth) {
			state[n] = true
			excluded = !p.negate
		}
	}
	return excluded, state
}

func (p *ignorePattern) matches(rel string, depth int) bool {
	if !p.anyDepth && depth != len(p.parts) {
		return false
	}
	if p.literal {
		return rel == p.text
	}
	matched, _, err := p.matcher.MatchesUsingParentResults(rel, p.alone)
	return err == nil && matched
}

// mayMatchBelow reports whether an exception could make something below the excluded directory rel visible again.
func (i *Ignore) mayMatchBelow(rel string, state ignoreState) bool {
	dirs := strings.Split(rel, "/")
	for n := len(i.patterns) - 1; n >= 0; n-- {
		p := &i.patterns[n]
		if state[n] && !p.negate {
			// The pattern hides everything below too, and overrules all patterns before it.
			return false
		}
		if p.negate && p.mayMatchBelow(dirs) {
			return true
		}
	}
	return false
}

func (p *ignorePattern) mayMatchBelow(dirs []string) bool {
	// patternmatcher takes all bytes that aren't UTF-8 for the same character.
	if !p.literal && (strings.ContainsAny(p.text, regexpBytes) || strings.ContainsRune(p.text, utf8.RuneError)) {
		return true
	}
	for n, part := range p.parts {
		if n == len(dirs) || strings.Contains(part, "**") {
			return true
		}
		if matched, err := filepath.Match(part, dirs[n]); err == nil && !matched {
			return false
		}
	}
	return false
}

// decide matches the directories of rel from the root down, and then rel. It stops at a directory in which no file is
// visible, and gives its path in at.
func (i *Ignore) decide(rel string) (excluded bool, at string, state ignoreState) {
	state = i.rootState()
	for end := 0; end < len(rel); {
		next := strings.IndexByte(rel[end:], '/')
		if next < 0 {
			next = len(rel) - end
		}
		at = rel[:end+next]
		excluded, state = i.match(at, state)
		end += next + 1
	}
	return excluded, at, state
}

// Excluded implements Filter.
func (i *Ignore) Excluded(rel string, dir bool) (excluded, descend bool) {
	rel = strings.Trim(rel, "/")
	if i == nil || len(i.patterns) == 0 || rel == "" || rel == "." {
		return false, true
	}
	excluded, at, state := i.decide(rel)
	return excluded, !excluded || dir && i.mayMatchBelow(at, state)
}

// explain names the line that hides rel.
func (i *Ignore) explain(rel string) string {
	if i == nil || rel == "" {
		return ""
	}
	excluded, _, state := i.decide(rel)
	if !excluded {
		return ""
	}
	for n := len(i.patterns) - 1; n >= 0; n-- {
		if p := i.patterns[n]; state[n] && !p.negate {
			return fmt.Sprintf("%s:%d: %s", i.name, p.line, p.text)
		}
	}
	return i.name
}

// HidesSource tells whether a source of COPY or ADD, as written, is hidden for certain. It goes by the path alone, and
// by the rules that BuildKit's linter has for this: with an exception in the file nothing is certain, and the whole
// context is hidden only by a pattern for everything.
func (i *Ignore) HidesSource(source string) bool {
	if i == nil || slices.ContainsFunc(i.patterns, func(p ignorePattern) bool { return p.negate }) {
		return false
	}
	source = path.Clean(source)
	if source == "." || source == "/" {
		everything := []string{"*", "**", "**/*"}
		return slices.ContainsFunc(i.patterns, func(p ignorePattern) bool { return slices.Contains(everything, p.text) })
	}
	return slices.ContainsFunc(i.patterns, func(p ignorePattern) bool {
		hidden, err := p.matcher.MatchesOrParentMatches(source)
		return err == nil && hidden
	})
}
