package plan

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

const (
	// maxExpanded is the longest result of an expansion in bytes, and how much all variables in a word may add to it.
	maxExpanded = 1 << 20
	// maxReplaced bounds what ${name//pattern/text} may make in passing.
	maxReplaced = 64 << 20
	// maxNesting bounds ${...} in one another, each level of which takes stack.
	maxNesting = 10_000
	// maxWork bounds what all expansions of a file cost, in bytes that are looked at, one second's worth or two: a file of
	// the largest size without a trick takes a tenth.
	maxWork = 128 << 20
	// maxPattern is what the variables in a pattern are taken to add to it.
	maxPattern = 1000
)

// variables are names and values in the order of first definition. They are what expansion looks at.
type variables struct {
	names []string
	// entries are NAME=VALUE, in one string so that all steps can share it.
	entries map[string]string
	// sets counts the changes.
	sets int
	// hidden are the names of which nobody knows the value here.
	hidden map[string]bool
}

var _ shell.EnvGetter = (*variables)(nil)

func newVariables(env []string) *variables {
	v := &variables{entries: map[string]string{}}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		v.set(name, value)
	}
	return v
}

func (v *variables) set(name, value string) {
	if _, ok := v.entries[name]; !ok {
		v.names = append(v.names, name)
	}
	v.entries[name] = name + "=" + value
	v.sets++
}

// Get looks up a variable.
func (v *variables) Get(name string) (string, bool) {
	if v.hidden[name] {
		return hiddenSecret, true
	}
	entry, ok := v.entries[name]
	if !ok {
		return "", false
	}
	return entry[len(name)+1:], true
}

// Keys are the names in order.
func (v *variables) Keys() []string { return v.names }

func (v *variables) clone() *variables {
	return &variables{names: slices.Clone(v.names), entries: maps.Clone(v.entries)}
}

// expander expands words within bounds: a few doubling ENV instructions would otherwise fill the memory.
type expander struct {
	word lexer
	// raw keeps quotes as they are, for heredocs; shown keeps quotes, escapes and unset variables, for display.
	raw, shown lexer
}

// lexer is one of BuildKit's, with what it takes to foresee how much it has to do.
type lexer struct {
	*shell.Lex
	escape rune
	// quotes says that it takes quotes for quotes.
	quotes bool
	// work is what all expansions of a plan may still cost, in bytes that are looked at or written.
	work *int
}

func newExpander(escape rune) expander {
	work := maxWork
	e := expander{
		word: lexer{shell.NewLex(escape), escape, true, &work}, raw: lexer{shell.NewLex('\\'), '\\', false, &work},
		shown: lexer{shell.NewLex(escape), escape, true, &work},
	}
	e.raw.SkipProcessQuotes = true
	e.shown.RawQuotes, e.shown.RawEscapes, e.shown.SkipUnsetEnv = true, true, true
	return e
}

// expansion is a word after expansion. matched and missing are sorted.
type expansion struct {
	text             string
	matched, missing []string
}

// errWork is for a file whose expansions would take minutes.
var errWork = errors.New(
	"the expansions up to here take too much work: ${...} in one another, or patterns for long values")

func run(lex lexer, word string, env *variables) (expansion, error) {
	if isPlain(word) {
		return expansion{text: word}, nil
	}
	depth := lex.nesting(word)
	if depth > maxNesting {
		return expansion{}, fmt.Errorf("more than %d expansions in one another", maxNesting)
	}
	replaced, err := boundReplacements(word, depth, env)
	if err != nil {
		return expansion{}, err
	}
	// What is inside is copied once for each ${...} around it.
	if *lex.work -= (depth+1)*len(word) + replaced + patternWork(word, env); *lex.work < 0 {
		return expansion{}, errWork
	}
	limited := &limitedVariables{variables: env, left: min(maxExpanded, *lex.work/(depth+1))}
	most := limited.left
	result, err := lex.ProcessWordWithMatches(word, limited)
	if limited.left < 0 && most < maxExpanded {
		return expansion{}, errWork
	}
	if limited.left < 0 || len(result.Result) > max(maxExpanded, len(word)) {
		return expansion{}, fmt.Errorf("the expansion is longer than %d bytes", maxExpanded)
	}
	*lex.work -= (depth + 1) * (most - limited.left)
	if err != nil {
		return expansion{}, expandError(err)
	}
	return expansion{
		text:    result.Result,
		matched: slices.Sorted(maps.Keys(result.Matched)), missing: slices.Sorted(maps.Keys(result.Unmatched)),
	}, nil
}

// isPlain tells that there is nothing in a word that a lexer would change.
func isPlain(word string) bool {
	for _, c := range []byte(word) {
		if c >= utf8.RuneSelf || c == 0 || strings.IndexByte("$\\`'\"<", c) >= 0 {
			return false
		}
	}
	return true
}

// limitedVariables stop handing out values when these have become too long in all.
type limitedVariables struct {
	*variables
	left int
}

// Get looks up a variable.
func (v *limitedVariables) Get(name string) (string, bool) {
	value, ok := v.variables.Get(name)
	if v.left -= len(value); v.left < 0 {
		return "", ok
	}
	return value, ok
}

// boundReplacements refuses a word whose ${name//pattern/text}, one inside the other, could make too much text, and
// gives a bound for what they make in passing.
func boundReplacements(word string, depth int, env *variables) (size int, err error) {
	count := strings.Count(word, "//")
	if count == 0 || depth == 0 {
		return 0, nil
	}
	longest, size := 0, len(word)
	for _, name := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(word, -1) {
		length := len(env.entries[name[1]])
		longest = max(longest, length)
		if size += length; size > maxReplaced {
			break
		}
	}
	for range min(count, depth) {
		if size *= longest + 1; size > maxReplaced {
			return 0, errors.New("the replacements in the word would make too much text")
		}
	}
	return size, nil
}

// patternWork is a bound for what the patterns of a word cost, as in ${name%.*}: a step for each byte of the value and
// of the pattern. What a pattern may end with is told by its brace, unless quotes or expansions in it make that
// uncertain.
func patternWork(word string, env *variables) int {
	work := 0
	for _, at := range regexp.MustCompile(`\$\{(\w+)[#%/]`).FindAllStringSubmatchIndex(word, -1) {
		value := len(env.entries[word[at[2]:at[3]]])
		if value == 0 {
			continue
		}
		pattern := word[at[1]:]
		if end := strings.IndexByte(pattern, '}'); end >= 0 && !strings.ContainsAny(pattern[:end], `$'"\`+"`") {
			pattern = pattern[:end]
		}
		size := len(pattern)
		if strings.Contains(pattern, "$") {
			size += maxPattern
		}
		work += size * value
	}
	return work
}

// nesting is how deep ${...} are in one another, as the lexer sees them.
func (l lexer) nesting(word string) (deepest int) {
	if !strings.Contains(word, "${") {
		return 0
	}
	var open []rune
	depth := 0
	for n := 0; n < len(word); n++ {
		in, c := rune(0), rune(word[n])
		if len(open) > 0 {
			in = open[len(open)-1]
		}
		switch {
		case c == l.escape:
			n++
		case c == '\'' && l.quotes && in != '"':
			if end := strings.IndexByte(word[n+1:], '\''); end >= 0 {
				n += end + 1
			}
		case c == '"' && l.quotes && in == '"', c == '}' && in == '}':
			open = open[:len(open)-1]
			if c == '}' {
				depth--
			}
		case c == '"' && l.quotes:
			open = append(open, c)
		case c == '$' && strings.HasPrefix(word[n:], "${"):
			open = append(open, '}')
			depth++
			deepest = max(deepest, depth)
			n++
		}
	}
	return deepest
}

// expandError drops the wrapping that repeats the whole word, and says plainly that a brace is missing: the lexer takes
// the end of the word or line for a modifier.
func expandError(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		if inner := errors.Unwrap(cause); inner != nil {
			err = inner
		}
	}
	text := err.Error()
	for _, end := range []string{"(\ufffd", "(\n", "(:\ufffd", "(:\n"} {
		if strings.HasPrefix(text, "unsupported modifier "+end) {
			return errors.New("syntax error: missing '}'")
		}
	}
	return errors.New(text)
}

// quoted is a word in quotes, cut short if it is long.
func quoted(word string) string {
	const most = 80
	if runes := []rune(word); len(runes) > most {
		word = string(runes[:most]) + "..."
	}
	return strconv.Quote(word)
}
