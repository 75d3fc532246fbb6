package tryout

import (
	"cmp"
	"errors"
	"slices"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Command is what is run, as far as it differs from what the image says.
type Command struct {
	// Args are given to the image's entry point instead of its own arguments; none: the image's own.
	Args []string
	// Entrypoint is used instead of the image's, whose arguments aren't used then either, unless it is nil. An empty one
	// is none: Args begin with the program.
	Entrypoint []string
	// Env is "NAME=value", and wins over the image's environment.
	Env []string
	// Workdir is absolute; it is made if it is missing. Empty is the image's.
	Workdir string
	// User is "user[:group]", by name or number; empty is the image's.
	User string
	// Hostname is the name of the machine that the command sees; empty is "cooper".
	Hostname string
	// Terminal tells that the command gets a terminal, whose kind Term is.
	Terminal bool
	Term     string
}

// errNoCommand is the error for an image that doesn't say what to run.
var errNoCommand = errors.New("the image has no command\nhint: give one after the image's name")

// in gives the operation that runs the command in an image.
func (c Command) in(img imagebuilder.Image) (*plan.Run, error) {
	entrypoint, args := img.Config.Entrypoint, img.Config.Cmd
	if c.Entrypoint != nil {
		entrypoint, args = c.Entrypoint, nil
	}
	if len(c.Args) > 0 {
		args = c.Args
	}
	args = slices.Concat(entrypoint, args)
	if len(args) == 0 || args[0] == "" {
		return nil, errNoCommand
	}
	env := slices.Clone(img.Config.Env)
	if c.Hostname != "" {
		env = append(env, "HOSTNAME="+c.Hostname)
	}
	if c.Terminal {
		env = append(env, "TERM="+cmp.Or(c.Term, "xterm"))
	}
	return &plan.Run{
		Args: args, Env: append(env, c.Env...), Cwd: cmp.Or(c.Workdir, img.Config.WorkingDir, "/"),
		User: cmp.Or(c.User, img.Config.User), Hostname: c.Hostname, Platform: img.Platform,
	}, nil
}
