package given_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/given"
)

func TestFlagsKeepAllThatTheyAreGivenInItsOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flag  given.Values
		words []string
		want  []string // nil: an error
	}{
		"texts": {words: []string{"--f=a", "--f", "b", "-xc", "--f="}, want: []string{"a", "b", "c", ""}},
		"a switch": {flag: given.Values{Switch: true}, words: []string{"--f", "--f=F", "-x"},
			want: []string{"true", "false", "true"}},
		"a switch before a word": {flag: given.Values{Switch: true}, words: []string{"--f", "word"},
			want: []string{"true"}},
		"a switch with a text": {flag: given.Values{Switch: true}, words: []string{"--f=perhaps"}},
		"numbers": {flag: given.Values{Number: true}, words: []string{"--f=1", "--f=-2"},
			want: []string{"1", "-2"}},
		"a number that is none":    {flag: given.Values{Number: true}, words: []string{"--f=1k"}},
		"a number that is too big": {flag: given.Values{Number: true}, words: []string{"--f=9223372036854775808"}},
		"a text that is missing":   {words: []string{"--f"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := pflag.NewFlagSet("tool", pflag.ContinueOnError)
			set.SetOutput(t.Output())
			given.Add(set, &c.flag, "f", "x", "")
			if err := set.Parse(c.words); (err == nil) != (c.want != nil) {
				t.Fatalf("parse %q: %v", c.words, err)
			}
			if diff := cmp.Diff(c.want, c.flag.All); c.want != nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}
