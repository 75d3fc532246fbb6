package usernscmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/userns"
)

// usernsTranslate is what cooper userns translate is asked for.
type usernsTranslate struct {
	flags    stepflags.Userns
	id       string
	from, to string
	group    bool
	format   string
	caller   userns.Caller
	finder   userns.Finder
}

func newUsernsTranslateCmd(lookup callerLookup) *cobra.Command {
	var o usernsTranslate
	cmd := &cobra.Command{
		Use:   "translate [flags] ID",
		Short: "Say which ID an ID is on the host, in the first namespace and in the container",
		Long: `Say which ID an ID is on the host, in the first namespace (the intermediate ID) and in the container. With --to, the ID alone is
printed, and it is an error if there is none.`,
		Example: `  cooper userns translate 33
  cooper userns translate 100032 --from host --to container
  cooper userns translate 1000 --userns keep-id --group`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return command.Usagef("userns translate takes one argument, the ID, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.id = args[0]
			if o.caller, o.finder, err = lookup(cmd.Context()); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	o.flags.Register(f)
	f.StringVar(&o.from, "from", userns.SideContainer, "where ID is from: host, intermediate or container")
	f.StringVar(&o.to, "to", "", "print only the ID there: host, intermediate or container")
	f.BoolVar(&o.group, "group", false, "ID is a group ID")
	f.StringVar(&o.format, "format", "text", "how to write the answer: text or json")
	return cmd
}

// run writes the answer.
func (o *usernsTranslate) run(ctx context.Context, out io.Writer) error {
	id, err := o.check()
	if err != nil {
		return err
	}
	r, err := o.flags.Resolve(ctx, o.caller, o.finder)
	if err != nil {
		return err
	}
	if err := complete(&r, o.caller); err != nil {
		return err
	}
	kind := userns.KindUID
	if o.group {
		kind = userns.KindGID
	}
	t, err := r.Translate(kind, id, o.from)
	if err != nil {
		return err
	}
	if o.to != "" && t.On(o.to) == nil {
		return fmt.Errorf("translate %s %s %d: it has no %s ID in this map\nhint: cooper userns show draws the map", o.from,
			kind, id, o.to)
	}
	if err := o.write(out, t); err != nil {
		return fmt.Errorf("write ID: %w", err)
	}
	return nil
}

// check reads what can be wrong in the command line.
func (o *usernsTranslate) check() (uint32, error) {
	for _, side := range []struct{ flag, value string }{{"--from", o.from}, {"--to", o.to}} {
		switch side.value {
		case userns.SideHost, userns.SideIntermediate, userns.SideContainer:
		default:
			if side.flag == "--from" || side.value != "" {
				return 0, command.Usagef("%s=%s: must be host, intermediate or container", side.flag, side.value)
			}
		}
	}
	if o.format != "text" && o.format != "json" {
		return 0, command.Usagef("--format=%s: must be text or json", o.format)
	}
	id, err := strconv.ParseUint(o.id, 10, 32)
	if err != nil || uint32(id) > userns.MaxID {
		return 0, command.Usagef("%q is not an ID from 0 to %d", o.id, userns.MaxID)
	}
	return uint32(id), nil
}

func (o *usernsTranslate) write(out io.Writer, t userns.Translation) error {
	if o.format == "json" {
		return json.NewEncoder(out).Encode(t)
	}
	if o.to != "" {
		_, err := fmt.Fprintln(out, *t.On(o.to))
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, side := range []string{userns.SideHost, userns.SideIntermediate, userns.SideContainer} {
		if id := t.On(side); id != nil {
			fmt.Fprintf(table, "%s\t%d\n", side, *id)
		} else {
			fmt.Fprintf(table, "%s\tnone: it looks like 65534, nobody\n", side)
		}
	}
	return table.Flush()
}
