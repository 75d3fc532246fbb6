package cachecmd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/cachemounts"
	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func newLsCmd(env command.Env) *cobra.Command {
	var format string
	var store build.StoreOptions
	cmd := &cobra.Command{
		Use: "ls [flags]", Aliases: []string{"list"},
		Short:   "List cache mounts: their IDs, sizes and when they were used last",
		Example: "  cooper cache ls",
		Args:    command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return command.Usagef("--format=%s: must be table or json", format)
			}
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := build.NewSession(build.SessionOptions{Store: store})
			items, err := cachemounts.List(cmd.Context(), s)
			if err := errors.Join(err, s.Close()); err != nil {
				return err
			}
			if format == "json" {
				return command.WriteIndented(env.Out(), inJSON(items))
			}
			return writeTable(env.Out(), items)
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "how to write it: table or json")
	command.AddStoreFlags(cmd.Flags(), &store)
	return cmd
}

func writeTable(w io.Writer, items []disk.Item) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSIZE\tLAST USED")
	for _, i := range items {
		used := "unknown"
		if !i.LastUse.IsZero() {
			used = strings.ToLower(units.HumanDuration(max(0, time.Since(i.LastUse)))) + " ago"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", command.Printable(i.Label), disk.FormatSize(i.Size.Bytes), used)
	}
	return t.Flush()
}

// mount is a cache mount for programs.
type mount struct {
	ID      string     `json:"id"`
	Bytes   int64      `json:"bytes"`
	LastUse *time.Time `json:"lastUse,omitempty"`
}

func inJSON(items []disk.Item) []mount {
	all := []mount{}
	for _, i := range items {
		m := mount{ID: i.Label, Bytes: i.Size.Bytes}
		if !i.LastUse.IsZero() {
			m.LastUse = &i.LastUse
		}
		all = append(all, m)
	}
	return all
}

func newRmCmd(env command.Env) *cobra.Command {
	var all bool
	var store build.StoreOptions
	cmd := &cobra.Command{
		Use: "rm [flags] ID...", Aliases: []string{"remove"}, Short: "Remove cache mounts",
		Example: "  cooper cache rm go-build\n  cooper cache rm --all",
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) > 0) == all {
				return command.Usagef("cache rm takes IDs of cache mounts, or --all\nhint: cooper cache ls lists them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := build.NewSession(build.SessionOptions{Store: store})
			gone, err := cachemounts.Remove(cmd.Context(), s, args)
			err = errors.Join(err, s.Close())
			for _, i := range gone {
				if _, writeErr := fmt.Fprintln(env.Out(), command.Printable(i.Label)); writeErr != nil {
					return errors.Join(err, writeErr)
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all of them")
	command.AddStoreFlags(cmd.Flags(), &store)
	return cmd
}
