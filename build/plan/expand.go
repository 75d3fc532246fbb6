package plan

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

const (
	// maxExpanded is the longest result of an expansion in bytes, and how much all variables in a word may add to it.
	maxExpanded = 1 << 20
	// maxReplaced bounds what ${name//pattern/text} may make in passing.
	maxReplaced = 64 << 20
	// maxNesting bounds ${...} in one word, each level of which takes stack.
	maxNesting = 10_000
)

// variables are names and values in the order of first definition. They are what expansion looks at.
type variables struct {
	names []string
	// entries are NAME=VALUE, in one string so that all steps can share it.
	entries map[string]string
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
}

// Get looks up a variable.
func (v *variables) Get(name string) (string, bool) {
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
	word *shell.Lex
	// raw keeps quotes as they are, for heredocs; shown keeps quotes, escapes and unset variables, for display.
	raw, shown *shell.Lex
}

func newExpander(escape rune) expander {
	e := expander{word: shell.NewLex(escape), raw: shell.NewLex('\\'), shown: shell.NewLex(escape)}
	e.raw.SkipProcessQuotes = true
	e.shown.RawQuotes, e.shown.RawEscapes, e.shown.SkipUnsetEnv = true, true, true
	return e
}

// expansion is a word after expansion. matched and missing are sorted.
type expansion struct {
	text             string
	matched, missing []string
}

func run(lex *shell.Lex, word string, env *variables) (expansion, error) {
	if strings.Count(word, "${") > maxNesting {
		return expansion{}, fmt.Errorf("more than %d expansions in one word", maxNesting)
	}
	if err := boundReplacements(word, env); err != nil {
		return expansion{}, err
	}
	limited := &limitedVariables{variables: env, left: maxExpanded}
	result, err := lex.ProcessWordWithMatches(word, limited)
	if limited.left < 0 || len(result.Result) > max(maxExpanded, len(word)) {
		return expansion{}, fmt.Errorf("the expansion is longer than %d bytes", maxExpanded)
	}
	if err != nil {
		return expansion{}, expandError(err)
	}
	return expansion{
		text:    result.Result,
		matched: slices.Sorted(maps.Keys(result.Matched)), missing: slices.Sorted(maps.Keys(result.Unmatched)),
	}, nil
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

// boundReplacements refuses a word whose ${name//pattern/text}, one inside the other, could make too much text.
func boundReplacements(word string, env *variables) error {
	depth := strings.Count(word, "//")
	if depth == 0 || !strings.Contains(word, "${") {
		return nil
	}
	longest, size := 0, len(word)
	for _, name := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(word, -1) {
		length := len(env.entries[name[1]])
		longest = max(longest, length)
		if size += length; size > maxReplaced {
			break
		}
	}
	for range min(depth, nestingOf(word)) {
		if size *= longest + 1; size > maxReplaced {
			return errors.New("the replacements in the word would make too much text")
		}
	}
	return nil
}

// nestingOf is the deepest nesting of ${ in a word, or more.
func nestingOf(word string) int {
	depth, deepest := 0, 0
	for n := 0; n < len(word); n++ {
		switch {
		case strings.HasPrefix(word[n:], "${"):
			depth++
			deepest = max(deepest, depth)
		case word[n] == '}' && depth > 0 && !strings.ContainsAny(word, `\'"`):
			depth--
		}
	}
	return deepest
}

// expandError drops the wrapping that repeats the whole word, and says plainly that a brace is missing: the lexer takes the
// end of the word or line for a modifier.
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
