package workcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Verbs are the verbs for working containers, by name.
func Verbs() []command.Verb {
	return []command.Verb{
		{Name: "add", New: newAddCmd}, {Name: "commit", New: newCommitCmd}, {Name: "config", New: newConfigCmd},
		{Name: "containers", New: newContainersCmd}, {Name: "copy", New: newCopyCmd}, {Name: "from", New: newFromCmd},
		{Name: "info", New: newInfoCmd}, {Name: "mount", New: newMountCmd}, {Name: "rename", New: newRenameCmd},
		{Name: "rm", New: newRmCmd}, {Name: "script", New: newScriptCmd}, {Name: "umount", New: newUmountCmd},
	}
}

// verb is what all verbs have.
type verb struct {
	env   command.Env
	store build.StoreOptions
	// registry are the flags about registries; nil: the verb has none.
	registry *command.RegistryFlags
	// mode is how progress is shown; empty: only notes are.
	mode show.Mode
}

// usage refuses another number of words than a verb takes; most is 0 if there may be any number.
func usage(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most > 0 && len(args) > most {
			return command.Usagef("%s takes %s, got %d words\nhint: %s", cmd.Name(), what, len(args), cmd.UseLine())
		}
		return nil
	}
}

// run enters the namespace and has do work on the store.
func (v *verb) run(ctx context.Context, do func(s *build.Session, to progress.Sink) error) (err error) {
	var reach build.RegistryOptions
	if v.registry != nil {
		if err := v.registry.Check(v.env); err != nil {
			return err
		}
	}
	if err := command.Enter(ctx, v.env); err != nil {
		return err
	}
	if v.registry != nil {
		if reach, err = v.registry.Options(ctx, v.env); err != nil {
			return err
		}
	}
	to, end := v.sink()
	place := v.store
	place.Tell = progress.Tell(to)
	s := build.NewSession(build.SessionOptions{Store: place, Registry: reach})
	return errors.Join(do(s, to), s.Close(), end())
}

// sink is where events go, and what ends that.
func (v *verb) sink() (progress.Sink, func() error) {
	if v.mode == "" {
		return command.Notes(v.env), func() error { return nil }
	}
	r := show.New(v.mode, v.env.Stderr)
	return r, r.Close
}

// print writes a line of text on standard output.
func (v *verb) print(text string) error {
	if _, err := fmt.Fprintln(v.env.Out(), text); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// byDefault is the value of a flag that a variable of the environment may set.
func byDefault(variable string) bool {
	on, err := strconv.ParseBool(os.Getenv(variable))
	return err == nil && on
}

// Variables of the environment.
const (
	// envHistory has commands and copies add to the history, as in buildah.
	envHistory = "BUILDAH_HISTORY"
	// envCache has commands and copies taken from the cache.
	envCache = "COOPER_CACHE"
	// envLog names the file in which the verbs of a script note what they did.
	envLog = "_COOPER_SCRIPT_LOG"
)

// Cached tells whether commands and copies are steps that the cache may have.
func Cached() bool { return byDefault(envCache) }

// Did notes for the script that this is a part of whether a step was cached.
func Did(cached bool, text string) {
	name := os.Getenv(envLog)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return // the summary lacks a line
	}
	how := "ran"
	if cached {
		how = "cached"
	}
	_, _ = fmt.Fprintf(f, "%s %q\n", how, text)
	_ = f.Close()
}

// History tells whether commands and copies add to the history unless flags say otherwise.
func History() bool { return byDefault(envHistory) }

// hinted adds a hint to an error.
func hinted(err error, hint string) error { return fmt.Errorf("%w\nhint: %s", err, hint) }
