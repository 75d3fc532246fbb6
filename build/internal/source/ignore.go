package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"golang.org/x/sys/unix"
)

const (
	// maxIgnoreFile is the size in bytes of the largest ignore file that is read.
	maxIgnoreFile = 1 << 20
	// maxPattern is the length in bytes of the longest pattern: that of the longest path.
	maxPattern = unix.PathMax
	// maxWildcards is how many stars, question marks and classes a pattern may have; each of them costs time for each
	// file.
	maxWildcards = 100
	// maxShown is how many bytes of a line an error shows.
	maxShown = 80
)

// regexpBytes are the bytes that package patternmatcher puts into its regular expressions without escaping them. A
// pattern with one of them may match more than its text says, even a slash.
const regexpBytes = `[]\|{}^`

// Ignore is a parsed ignore file: a Filter with docker's rules. The last pattern that matches a path or one of its
// parents decides; "!" makes it visible again. The nil Ignore hides nothing. It is safe for concurrent use.
type Ignore struct {
	name     string
	patterns []ignorePattern
}

// ignorePattern is the pattern of one line of an ignore file.
type ignorePattern struct {
	text   string
	negate bool
	line   int
	parts  []string
	// literal tells that the pattern has no wildcards and matches only its own text.
	literal bool
	// anyDepth tells that the pattern may match paths with more or fewer components than it has itself.
	anyDepth bool
	matcher  *patternmatcher.PatternMatcher
	// alone is passed to the matcher so that it looks at the path only and not at its parents.
	alone patternmatcher.MatchInfo
}

// Name gives the name of the ignore file, for messages.
func (i *Ignore) Name() string {
	if i == nil {
		return ""
	}
	return i.name
}

// ParseIgnore reads an ignore file as docker does: with "#" comments, blank lines, "!" for exceptions, "**", and
// leading slashes that are ignored. name is the file's name for messages. The error for a malformed pattern has its
// line.
func ParseIgnore(name string, r io.Reader) (*Ignore, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxIgnoreFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxIgnoreFile {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, maxIgnoreFile)
	}

	ig := &Ignore{name: name}
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	lines.Buffer(nil, maxIgnoreFile+1)
	for n := 1; lines.Scan(); n++ {
		pattern, err := parseIgnoreLine(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", name, n, shownPattern(lines.Text()), err)
		}
		if pattern.matcher != nil {
			pattern.line = n
			ig.patterns = append(ig.patterns, pattern)
		}
	}

	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return ig, nil
}

// parseIgnoreLine reads one line. For a line without a pattern the result has no matcher.
func parseIgnoreLine(line []byte) (ignorePattern, error) {
	var p ignorePattern
	if len(line) > 2*maxPattern { // twice as long, for spaces around the pattern
		return p, errLongPattern
	}
	// ignorefile.ReadAll gives no line numbers, so it gets one line at a time.
	read, err := ignorefile.ReadAll(bytes.NewReader(line))
	if err != nil || len(read) == 0 {
		return p, err
	}
	p.text, p.negate = strings.CutPrefix(read[0], "!")
	p.text = strings.TrimSpace(p.text)
	if p.text == "" {
		return p, errors.New("! is followed by nothing")
	}
	p.text = filepath.Clean(p.text)
	err = p.compile() // writes fields of p: called before the return reads p
	return p, err
}

// errLongPattern is the error for a pattern that is longer than any path.
var errLongPattern = fmt.Errorf("a pattern can't be longer than a path, which is %d bytes", maxPattern)

// manyStars matches three or more "**" in a row, which mean the same as two.
var manyStars = regexp.MustCompile(`(?:\*\*/?){2,}(\*\*/?)`)

func shownPattern(text string) string {
	if len(text) > maxShown {
		return strconv.Quote(text[:maxShown]) + "..."
	}
	return strconv.Quote(text)
}

// compile makes the matcher for the pattern's text, which is clean.
func (p *ignorePattern) compile() (err error) {
	p.parts = strings.Split(p.text, "/")
	p.literal = !strings.ContainsAny(p.text, `*?[]\`)
	p.anyDepth = strings.Contains(p.text, "**") || strings.ContainsAny(p.text, regexpBytes)
	// The "!" of an exception was cut off before; patternmatcher would take another "!" for one.
	if strings.HasPrefix(p.text, "!") {
		p.text = `\` + p.text
		p.anyDepth, p.literal = true, false
	}

	matched := manyStars.ReplaceAllString(p.text, "**/$1")
	switch {
	case len(matched) > maxPattern:
		return errLongPattern
	case strings.Count(matched, "*")+strings.Count(matched, "?")+strings.Count(matched, "[") > maxWildcards:
		return fmt.Errorf("a pattern can't have more than %d wildcards", maxWildcards)
	}

	p.matcher, err = patternmatcher.New([]string{matched})
	if err != nil {
		return err
	}

	// The first match compiles the regular expression, which isn't safe for concurrent use; so it is done here.
	if _, _, err = p.matcher.MatchesUsingParentResults("x", patternmatcher.MatchInfo{}); err != nil {
		return err
	}
	p.alone, err = noParent()
	return err
}

// noParent gives patternmatcher's result for a parent directory that doesn't match a matcher's only pattern. MatchInfo
// has no exported fields, so the result of such a match is the only way to get one.
func noParent() (patternmatcher.MatchInfo, error) {
	m, err := patternmatcher.New([]string{"x"})
	if err != nil {
		return patternmatcher.MatchInfo{}, err
	}
	_, info, err := m.MatchesUsingParentResults("y", patternmatcher.MatchInfo{})
	return info, err
}
