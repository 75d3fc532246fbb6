package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// commandHint says what an unknown word among the commands below cmd may have been meant to be.
func commandHint(cmd *cobra.Command, word string) string {
	if cmd.Name() == program {
		if hint := otherVerb(word); hint != "" {
			return "\nhint: " + hint
		}
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if name := command.Near(word, names); name != "" {
		return fmt.Sprintf("\nhint: did you mean %q?", name)
	}
	return "\nhint: " + cmd.CommandPath() + " --help lists the commands"
}

// flagError explains what is wrong with the flags of cmd.
func flagError(cmd *cobra.Command, args []string, err error) error {
	text := withoutFunctions(err.Error())
	unknown := new(pflag.NotExistError)
	if !errors.As(err, &unknown) {
		return command.Usagef("%s\nhint: %s --help lists the flags", text, cmd.CommandPath())
	}
	if short := unknown.GetSpecifiedShortnames(); cmd.Name() == "login" && len(short) > 1 {
		text = strings.TrimSuffix(text, short[1:]) // what follows other tools' -p is a password
	}
	if word := wordAfter(cmd, args); cmd.HasSubCommands() && word != "" {
		// Flags belong to a command below; the word that stands in its place is what is wrong, or that it comes too late.
		if !slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == word }) {
			return unknownCommand(cmd, word)
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
	return first(words)
}

// unknownCommand is the error for a word that is no command below cmd.
func unknownCommand(cmd *cobra.Command, word string) error {
	of := ""
	if cmd.Name() != program {
		of = " of " + cmd.Name()
	}
	return command.Usagef("unknown command %q%s%s", word, of, commandHint(cmd, word))
}

// otherVerb says what does the work of a verb that docker, podman or buildah has and cooper hasn't; "" for words that
// are none.
func otherVerb(word string) string {
	switch word {
	case "bud", "builder", "buildx":
		return `did you mean "build"?`
	case "scp", "sign", "tree":
		return "podman " + word + " works on the images of the same store"
	case "run", "create":
		return "podman " + word + " makes a container of an image in the same store"
	case "import":
		return "podman import makes an image of an archive of files in the same store"
	case "exec", "start", "stop", "restart", "kill", "logs", "attach", "cp", "export",
		"port", "wait", "container", "pod", "volume", "network", "generate", "kube":
		return "podman " + word + " is for containers that are run; cooper containers lists those that images are made from"
	case "compose", "bake":
		return "cooper builds one image at a time: cooper build -f FILE --target STAGE CONTEXT"
	case "system":
		return "cooper df shows what takes disk space, cooper prune gives it back"
	}
	return ""
}

// first is the first of some words, "" if there is none.
func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
