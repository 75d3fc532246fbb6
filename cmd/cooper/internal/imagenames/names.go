package imagenames

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Open makes a session with the store that flags say.
func Open(store build.StoreOptions) *build.Session {
	return build.NewSession(build.SessionOptions{Store: store})
}

// Finish closes a session and adds to an error about an image that isn't there the name that was probably meant. words
// are the names that the command line has.
func Finish(s *build.Session, err error, words ...string) error {
	return errors.Join(withNearest(s, err, words), s.Close())
}

func withNearest(s *build.Session, err error, words []string) error {
	if !errors.Is(err, catalog.ErrNoImage) {
		return err
	}
	full, listErr := catalog.Names(s)
	if listErr != nil {
		return err // the first error matters more
	}
	var names []string
	for _, n := range full {
		names = append(names, spellings(n)...)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word+": "+catalog.ErrNoImage.Error()) {
			continue
		}
		if name := command.Near(word, names); name != "" {
			return fmt.Errorf("%w\nhint: did you mean %s?", err, command.Printable(name))
		}
	}
	return err
}

// spellings are the ways to write a full name that lead to its image: without localhost or Docker's hub, and without
// the tag that is the usual one.
func spellings(full string) []string {
	all := []string{full}
	for _, prefix := range []string{"localhost/", "docker.io/library/", "docker.io/"} {
		if short, ok := strings.CutPrefix(full, prefix); ok {
			all = append(all, short)
			break
		}
	}
	for _, name := range all {
		if short, ok := strings.CutSuffix(name, ":latest"); ok {
			all = append(all, short)
		}
	}
	return all
}

// Complete completes names of images of the store that the flags say, up to a number of words; 0: any number.
func Complete(store *build.StoreOptions, most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s := Open(*store)
		defer s.Close() //nolint:errcheck // nothing was opened
		names, err := catalog.Names(s)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var fit []string
		for _, n := range names {
			for _, text := range spellings(n) {
				if strings.HasPrefix(text, begun) && text == command.Printable(text) {
					fit = append(fit, text)
				}
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}
