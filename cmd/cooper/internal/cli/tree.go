package cli

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Tree is the tree of all commands, to be described and not to be run.
func Tree() *cobra.Command {
	root := newRootCmd(command.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: "dev"}, io.Discard)
	root.DisableAutoGenTag = true
	return root
}
