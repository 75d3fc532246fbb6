package diskcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/top"
	"github.com/cooperbuild/cooper/internal/terminal"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// leastWatch is the shortest time between two looks.
const leastWatch = 100 * time.Millisecond

// NewTopCmd makes the command top.
func NewTopCmd(env command.Env) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "top [-w | --watch[=TIME]] [BUILD] [DESCRIPTOR...]",
		Short: "Show the processes of running steps",
		Long: `Show the processes of the RUN steps that run now, in all of the user's builds or in BUILD: an ID from the first column or the beginning
of one, or a tag that the build gives, in any form (app, app:latest, localhost/app:latest).

Each DESCRIPTOR is a column, with podman's names; several may be given with commas between them. Those with an h show
the host's view:` + top.Descriptors() + `.

With --watch it looks again and again until it is interrupted, over the last table on a terminal and below it
elsewhere. A TIME goes with an equals sign: --watch=500ms or -w=500ms.

From inside a user namespace, such as that of cooper unshare, the kernel shows no steps of builds that were started
outside of it.`,
		Example: `  cooper top
  cooper top --watch
  cooper top -w=500ms app
  cooper top app
  cooper top user,huser,uidmap,args`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("watch") {
				return runTop(env, args)
			}
			if every < leastWatch {
				return command.Usagef("--watch=%s: must be a time of at least %s, such as 2s", every, leastWatch)
			}
			if d, err := time.ParseDuration(command.First(args)); err == nil && d > 0 {
				return command.Usagef(
					"%q is neither a build nor a descriptor\nhint: a time goes with an equals sign: --watch=%[1]s",
					args[0])
			}
			return watchTop(cmd.Context(), env, args, every)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		err = cmd.Parent().FlagErrorFunc()(cmd, err)
		if _, word, ok := strings.Cut(err.Error(), " in -"); ok {
			if d, parseErr := time.ParseDuration(strings.Fields(word)[0]); parseErr == nil && d > 0 {
				return command.Usagef("-w%s: a time goes with an equals sign\nhint: -w=%[1]s or --watch=%[1]s",
					strings.Fields(word)[0])
			}
		}
		return err
	})
	cmd.Flags().DurationVarP(&every, "watch", "w", 0,
		"look again after this time, such as 500ms, until interrupted (without one: 2s)")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

// watchTop shows the table until ctx ends, which is no error: that is how it is meant to end. A build that has ended
// shows as an empty table.
func watchTop(ctx context.Context, env command.Env, args []string, every time.Duration) error {
	clearScreen := ""
	if terminal.Is(env.Stdout) {
		clearScreen = "\x1b[H\x1b[J"
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		var table bytes.Buffer
		err := writeTop(&table, args, !first)
		if errors.Is(err, errHidden) && !first {
			err = nil
		}
		if err == nil {
			_, err = fmt.Fprint(env.Stdout, clearScreen) // the only text of ours that a terminal is to obey
		}
		if err == nil {
			_, err = table.WriteTo(env.Out())
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func runTop(env command.Env, args []string) error {
	var table bytes.Buffer
	err := writeTop(&table, args, false)
	if err != nil && !errors.Is(err, errHidden) {
		return err
	}
	if _, err := table.WriteTo(env.Out()); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return err
}

// errHidden is behind the error about steps that the caller may not look at; the table is of the others.
var errHidden = errors.New("steps are in another user namespace")

// hidden is that error about so many steps.
func hidden(n int) error {
	what := "1 running step can't be looked at from here: it is"
	if n > 1 {
		what = fmt.Sprintf("%d running steps can't be looked at from here: they are", n)
	}
	return &reexec.MachineError{Problem: what + " in another user namespace",
		Remedy: "run cooper top outside of cooper unshare, as the user of the build", Err: errHidden}
}

// writeTop writes the table. gone says that the build of the first argument was there before and may have ended.
func writeTop(w io.Writer, args []string, gone bool) error {
	dir, err := build.RunDir(userns.CallingUser().ID)
	if err != nil {
		return err
	}
	steps, err := top.List(dir)
	if err != nil {
		return err
	}
	if len(args) > 0 && !top.IsDescriptors(args[0]) {
		steps = slices.DeleteFunc(steps, func(s top.Step) bool {
			return !s.Match(args[0]) &&
				!s.Match(build.FullName(args[0]))
		})
		if len(steps) == 0 && !gone {
			return command.Usagef("%q is neither a build with a running step nor a descriptor\nhint: the descriptors are %s",
				args[0],
				top.Descriptors())
		}
		args = args[1:]
	}
	table, err := top.NewTable(args)
	if err != nil {
		return command.Usage(err)
	}
	found, err := top.Processes(steps)
	if err != nil {
		return err
	}
	if err := table.Write(w, found); err != nil {
		return err
	}
	if found.Hidden > 0 {
		return hidden(found.Hidden)
	}
	return nil
}
