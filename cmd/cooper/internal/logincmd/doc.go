// Package logincmd has the commands for credentials of registries: login and logout.
package logincmd

import (
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Commands are the verbs for credentials, by name.
func Commands(env command.Env) []*cobra.Command {
	return []*cobra.Command{newLoginCmd(env), newLogoutCmd(env)}
}
