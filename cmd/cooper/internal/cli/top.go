package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/top"
)

// leastWatch is the shortest time between two looks.
const leastWatch = 100 * time.Millisecond

func newTopCmd(env Env) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "top [--watch[=TIME]] [BUILD] [DESCRIPTOR...]",
		Short: "Show the processes of running steps",
		Long: `Show the processes of the RUN steps that run now, in all of the user's builds or in BUILD: an ID from the first column or the beginning
of one, or a tag that the build gives.

Each DESCRIPTOR is a column, with podman's names; several may be given with commas between them. Those with an h show the host's view:
` + top.Descriptors() + `.

With --watch it looks again and again until it is interrupted, over the last table on a terminal and below it elsewhere.`,
		Example: `  cooper top
  cooper top --watch
  cooper top app
  cooper top user,huser,uidmap,args`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("watch") {
				return runTop(env, args)
			}
			if every < leastWatch {
				return usagef("--watch=%s: must be a time of at least %s, such as 2s", every, leastWatch)
			}
			return watchTop(cmd.Context(), env, args, every)
		},
	}
	cmd.Flags().DurationVarP(&every, "watch", "w", 0, "look again after this time, such as 500ms, until interrupted (without one: 2s)")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

// watchTop shows the table until ctx ends, which is no error: that is how it is meant to end. A build that has ended shows as an empty table.
func watchTop(ctx context.Context, env Env, args []string, every time.Duration) error {
	clearScreen := ""
	if isTerminal(env.Stdout) {
		clearScreen = "\x1b[H\x1b[J"
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		var table bytes.Buffer
		err := writeTop(&table, args, !first)
		if err == nil {
			_, err = fmt.Fprintf(env.Stdout, "%s%s", clearScreen, &table)
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

func runTop(env Env, args []string) error {
	var table bytes.Buffer
	if err := writeTop(&table, args, false); err != nil {
		return err
	}
	if _, err := table.WriteTo(env.Stdout); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// writeTop writes the table. gone says that the build of the first argument was there before and may have ended.
func writeTop(w io.Writer, args []string, gone bool) error {
	dir, err := build.RunDir(owner().ID)
	if err != nil {
		return err
	}
	steps, err := top.List(dir)
	if err != nil {
		return err
	}
	if len(args) > 0 && !top.IsDescriptors(args[0]) {
		steps = slices.DeleteFunc(steps, func(s top.Step) bool { return !s.Match(args[0]) })
		if len(steps) == 0 && !gone {
			return usagef("%q is neither a build with a running step nor a descriptor\nhint: the descriptors are %s", args[0], top.Descriptors())
		}
		args = args[1:]
	}
	table, err := top.NewTable(args)
	if err != nil {
		return usageError{err}
	}
	found, err := top.Processes(steps)
	if err != nil {
		return err
	}
	return table.Write(w, found)
}
