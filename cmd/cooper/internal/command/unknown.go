package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Program is the name of the command above all others.
const Program = "cooper"

// OnlyCommands refuses words that are no command below this one.
func OnlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Unknown(cmd, args[0])
	}
	return nil
}

// Unknown is the error for a word that is no command below cmd.
func Unknown(cmd *cobra.Command, word string) error {
	of := ""
	if cmd.Name() != Program {
		of = " of " + cmd.Name()
	}
	return Usagef("unknown command %q%s%s", word, of, HintFor(cmd, word))
}

// HintFor says what an unknown word among the commands below cmd may have been meant to be.
func HintFor(cmd *cobra.Command, word string) string {
	if cmd.Name() == Program {
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
	if name := Near(word, names); name != "" {
		return fmt.Sprintf("\nhint: did you mean %q?", name)
	}
	return "\nhint: " + cmd.CommandPath() + " --help lists the commands"
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

// First is the first of some words, "" if there is none.
func First(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
