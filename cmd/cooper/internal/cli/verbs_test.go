package cli

import (
	"io"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestALineIsUnderstoodAlikeWhicheverVerbsWereMadeForIt(t *testing.T) {
	t.Parallel()
	all := newRootCmd(command.Env{}, io.Discard)
	for _, v := range verbs() {
		if name := v.New(command.Env{}).Name(); name != v.Name {
			t.Errorf("the verb %q makes the command %q", v.Name, name)
		}
		few := newRootCmd(command.Env{Args: []string{v.Name}}, io.Discard)
		if has(few, v.Name) == nil || len(few.Commands()) >= len(all.Commands()) {
			t.Errorf("for cooper %s there are %d commands", v.Name, len(few.Commands()))
		}
	}
	for _, word := range []string{"", "bud", "ps", "help", "completion", cobra.ShellCompRequestCmd, "--help"} {
		root := newRootCmd(command.Env{Args: []string{word, "build"}}, io.Discard)
		if got, want := len(root.Commands()), len(all.Commands()); got != want {
			t.Errorf("for cooper %s build there are %d commands, want all %d", word, got, want)
		}
	}
}

// has gives the command of a name below another; nil if there is none.
func has(root *cobra.Command, name string) *cobra.Command {
	for _, c := range root.Commands() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}
