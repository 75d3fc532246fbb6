package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// flagError explains what is wrong with the flags of cmd.
func flagError(cmd *cobra.Command, args []string, err error) error {
	if invalid := new(pflag.InvalidValueError); errors.As(err, &invalid) {
		if why := command.Refusal(invalid.GetFlag()); why != "" {
			return command.Usagef("--%s: %s", invalid.GetFlag().Name, why)
		}
	}
	text := withoutFunctions(err.Error())
	unknown := new(pflag.NotExistError)
	if !errors.As(err, &unknown) {
		return command.Usagef("%s\nhint: %s --help lists the flags", text, cmd.CommandPath())
	}
	if word := wordAfter(cmd, args); cmd.HasSubCommands() && word != "" {
		// Flags belong to a command below; the word that stands in its place is what is wrong, or that it comes too late.
		if !slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == word }) {
			return command.Unknown(cmd, word)
		}
		return command.Usagef("%s\nhint: flags follow the command: %s %s [flags]", text, cmd.CommandPath(), word)
	}
	if name := unknown.GetSpecifiedName(); unknown.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if meant := command.Near(name, names); meant != "" {
			return command.Usagef("%s\nhint: did you mean --%s?", text, meant)
		}
	}
	return command.Usagef("%s\nhint: %s --help lists the flags", text, cmd.CommandPath())
}

// wordAfter is the first of the arguments that is neither a flag nor part of the command's name.
func wordAfter(cmd *cobra.Command, args []string) string {
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	for ; cmd.HasParent() && len(words) > 0; cmd = cmd.Parent() {
		words = words[1:]
	}
	return command.First(words)
}
