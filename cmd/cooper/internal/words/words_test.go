package words_test

import (
	"slices"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/words"
)

func TestWordsAreThoseOfAShell(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"": nil, "  a  b ": {"a", "b"}, `'a "b' c`: {`a "b`, "c"}, `"a \"b\" \c"`: {`a "b" \c`}, `a\ b ''`: {"a b", ""},
		`'\'`: {`\`}, "a'b'c": {"abc"},
	} {
		if got, err := words.Split(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
