package manifestcmd

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestWrongCommandLinesAboutListsAreRefusedBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	env := command.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	for line, want := range map[string]string{
		"manifest add list":                 "manifest add takes a list and images, got 1 words",
		"manifest push":                     "push takes an image and where it goes, got nothing",
		"manifest annotate --index a b":     "manifest annotate takes with --index only a list, got 2 words",
		"manifest create --annotation =x a": `--annotation "=x": must be KEY=VALUE`,
		"manifest create UPPER":             "UPPER",
		"manifest show":                     `unknown command "show" of manifest`,
		"imagetools create -t UPPER a":      "UPPER",
	} {
		root := &cobra.Command{Use: "cooper", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(NewCmd(env), NewImagetoolsCmd(env))
		root.SetArgs(strings.Fields(line))
		err := root.Execute()
		if usage := new(command.UsageError); !errors.As(err, usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("cooper %s: %v\nwant %q", line, err, want)
		}
	}
}
