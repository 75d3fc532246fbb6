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
	// maxExpanded is how many bytes the values of all variables in a word may have together, and so bounds the result.
	maxExpanded = 1 << 20
	// maxReplaced is how many bytes the intermediate results of the ${name//pattern/text} in a word may have.
	maxReplaced = 64 << 20
	// maxNesting is how deep ${...} may nest; each level takes stack.
	maxNesting = 10_000
	// maxWork is how many bytes all expansions of a file may read and write, which takes a second or two. A file of the
	// largest size that isn't made to take long needs a tenth of it.
	maxWork = 128 << 20
	// maxPattern is how many bytes the variables in a pattern are assumed to add to it.
	maxPattern = 1000
)

// variables are the variables that an expansion can use, in the order of their first definition.
type variables struct {
	names []string
	// entries holds NAME=VALUE by name: one string, which the environments of all steps share.
	entries map[string]string
	// sets counts the calls of set; stage.runEnv is valid as long as it stays the same.
	sets int
	// hidden are names that are defined, but whose values aren't known to the plan: those of secrets.
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
	// raw keeps quotes as they are and is for heredocs; shown keeps quotes, escapes and unset variables, and is for
	// display.
	raw, shown lexer
}

// lexer is a lexer of BuildKit's, with the settings by which run estimates the cost of an expansion beforehand.
type lexer struct {
	*shell.Lex
	escape rune
	// quotes tells that the lexer gives quotes their meaning.
	quotes bool
	// work is how many bytes the expansions of this plan may still read and write; run counts it down from maxWork.
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

// expansion is the result of expanding a word. matched are the names of the variables in the word that are set, missing
// those that aren't; both are sorted.
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

	// The lexer copies the text inside of nested ${...} once for each level.
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

// isPlain tells whether a word has nothing that a lexer would change.
func isPlain(word string) bool {
	for _, c := range []byte(word) {
		if c >= utf8.RuneSelf || c == 0 || strings.IndexByte("$\\`'\"<", c) >= 0 {
			return false
		}
	}
	return true
}

// limitedVariables are variables whose values may have only so many bytes together. left is how many bytes more it may
// give; below 0 it gives empty values, and run reports an error.
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

// boundReplacements gives a bound for the bytes that the ${name//pattern/text} of a word make as intermediate results,
// and an error if that exceeds maxReplaced. depth is how deep ${...} nest in the word.
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

// patternWork gives a bound for the cost of the patterns in a word, as in ${name%.*}: the length of the value times the
// length of the pattern. A pattern is taken to end at the first closing brace, or at the end of the word if it has
// quotes or expansions in it.
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

// nesting gives how deep ${...} nest in a word, by the lexer's rules for quotes and escapes.
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

// expandError improves an error of the lexer: it drops the wrapping that repeats the whole word, and says that a brace
// is missing where the lexer complains about a modifier because it took the end of the word for one.
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

// quoted gives a word in quotes, cut short if it is long.
func quoted(word string) string {
	const most = 80
	if runes := []rune(word); len(runes) > most {
		word = string(runes[:most]) + "..."
	}
	return strconv.Quote(word)
}
