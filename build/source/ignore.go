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
	// maxIgnoreFile bounds an ignore file, in bytes.
	maxIgnoreFile = 1 << 20
	// maxPattern is how long a pattern may be in bytes, which is as long as a path can be.
	maxPattern = unix.PathMax
	// maxWildcards is how many stars, question marks and classes a pattern may have: each costs time for each file.
	maxWildcards = 100
	// maxShown is how much of a line is shown in an error, in bytes.
	maxShown = 80
)

// regexpBytes are those that the library gives to its regular expressions as they are: a pattern that holds one may
// match more than it says, a slash among it.
const regexpBytes = `[]\|{}^`

// Ignore is a parsed ignore file: a Filter with docker's rules. The last pattern that matches a path or one of its
// parents decides; "!" makes it visible again. The nil Ignore hides nothing. It is safe for concurrent use.
type Ignore struct {
	name     string
	patterns []ignorePattern
}

// ignorePattern is one line.
type ignorePattern struct {
	text   string
	negate bool
	line   int
	parts  []string
	// literal patterns match nothing but their own text.
	literal bool
	// anyDepth patterns may match paths that have more or fewer components than they have themselves.
	anyDepth bool
	matcher  *patternmatcher.PatternMatcher
	// alone makes the matcher look at the path only and not at its parents.
	alone patternmatcher.MatchInfo
}

// Name is the file's name, for messages.
func (i *Ignore) Name() string {
	if i == nil {
		return ""
	}
	return i.name
}

// ParseIgnore reads an ignore file as docker does: "#" comments, blank lines, "!" for exceptions, "**", leading slashes
// without meaning. name is for messages. A pattern that can't be is an error with its line.
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

// parseIgnoreLine gives a pattern without matcher for a line that has none.
func parseIgnoreLine(line []byte) (ignorePattern, error) {
	var p ignorePattern
	if len(line) > 2*maxPattern { // with spaces around it
		return p, errLongPattern
	}
	// The library reads whole files; one line at a time keeps the line number.
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
	err = p.compile() // which changes p
	return p, err
}

// errLongPattern is for what can be no path.
var errLongPattern = fmt.Errorf("a pattern can't be longer than a path, which is %d bytes", maxPattern)

// manyStars are three or more "**" in a row, which mean what two mean.
var manyStars = regexp.MustCompile(`(?:\*\*/?){2,}(\*\*/?)`)

func shownPattern(text string) string {
	if len(text) > maxShown {
		return strconv.Quote(text[:maxShown]) + "..."
	}
	return strconv.Quote(text)
}

// compile makes the matcher of a clean text.
func (p *ignorePattern) compile() (err error) {
	p.parts = strings.Split(p.text, "/")
	p.literal = !strings.ContainsAny(p.text, `*?[]\`)
	p.anyDepth = strings.Contains(p.text, "**") || strings.ContainsAny(p.text, regexpBytes)
	// A pattern of the line's own that starts with "!" would be taken for an exception once more.
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
	// The first use compiles the pattern, which isn't safe once there are several users.
	if _, _, err = p.matcher.MatchesUsingParentResults("x", patternmatcher.MatchInfo{}); err != nil {
		return err
	}
	p.alone, err = noParent()
	return err
}

// noParent is what the library says of a parent that doesn't match a matcher's only pattern; it can be had no other
// way.
func noParent() (patternmatcher.MatchInfo, error) {
	m, err := patternmatcher.New([]string{"x"})
	if err != nil {
		return patternmatcher.MatchInfo{}, err
	}
	_, info, err := m.MatchesUsingParentResults("y", patternmatcher.MatchInfo{})
	return info, err
}
