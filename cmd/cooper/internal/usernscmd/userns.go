package usernscmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/userns"
)

// A callerLookup says who calls, and where the ranges of others are found.
type callerLookup func(ctx context.Context) (userns.Caller, userns.Finder, error)

// thisCaller looks up the user of this process.
func thisCaller(env command.Env) callerLookup {
	return func(ctx context.Context) (userns.Caller, userns.Finder, error) {
		caller, err := stepflags.Caller(ctx, userns.Finder{})
		return caller, userns.Finder{}, err
	}
}

// NewCmd makes the command userns.
func NewCmd(env command.Env) *cobra.Command { return newUsernsCmd(thisCaller(env)) }

func newUsernsCmd(lookup callerLookup) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "userns COMMAND",
		Short: "Show the ID maps of user namespaces, and translate IDs",
		Long: `Show the ID maps of user namespaces, and translate IDs. No namespace is made and nothing changed: the maps are what a build of
this user would have.`,
		Args: command.OnlyCommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUsernsShowCmd(lookup), newUsernsTranslateCmd(lookup))
	return cmd
}

// usernsShow is what cooper userns show is asked for.
type usernsShow struct {
	flags  stepflags.Userns
	modes  []string
	format string
	caller userns.Caller
	finder userns.Finder
}

func newUsernsShowCmd(lookup callerLookup) *cobra.Command {
	var o usernsShow
	cmd := &cobra.Command{
		Use:   "show [flags] [MODE...]",
		Short: "Show the ID map that a mode or a map makes",
		Long: `Show the ID map of each MODE, which is what --userns takes; or of the flags, or of COOPER_USERNS; or else of every mode.

A line is a run of IDs that follow each other: on the host, which is what ls and ps show outside; in the first
namespace, the intermediate IDs that --uidmap takes; and in the container, which is what a RUN step sees. For root the
first two are the same. ns:PATH can be any file of a user namespace: /proc/PID/ns/user, or what a mount keeps.`,
		Example: `  cooper userns show
  cooper userns show keep-id nomap
  cooper userns show --uidmap +100000:@2000 --format json`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.modes = args
			if o.caller, o.finder, err = lookup(cmd.Context()); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	o.flags.Register(cmd.Flags())
	cmd.Flags().StringVar(&o.format, "format", "text", "how to write the maps: text or json")
	return cmd
}

// shownMap is the map of one mode.
type shownMap struct {
	Mode string         `json:"mode"`
	Note string         `json:"note"`
	UIDs []userns.Level `json:"uids"`
	GIDs []userns.Level `json:"gids"`
	// Error is why there is no such map, where the others are shown.
	Error string `json:"error,omitempty"`
}

// run writes the maps.
func (o *usernsShow) run(ctx context.Context, out io.Writer) error {
	if o.format != "text" && o.format != "json" {
		return command.Usagef("--format=%s: must be text or json", o.format)
	}
	resolved, err := o.resolve(ctx)
	if err != nil {
		return err
	}
	maps := make([]shownMap, 0, len(resolved))
	for _, r := range resolved {
		m, err := showMap(r, o.caller)
		switch {
		case err != nil && len(resolved) > 1 && len(o.modes) == 0: // nobody has asked for this very one
			m.UIDs, m.GIDs, m.Error = []userns.Level{}, []userns.Level{}, err.Error()
		case err != nil:
			return err
		}
		maps = append(maps, m)
	}
	if o.format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(maps)
	} else {
		err = writeMaps(out, maps)
	}
	if err != nil {
		return fmt.Errorf("write maps: %w", err)
	}
	return nil
}

// resolve gives what is to be shown.
func (o *usernsShow) resolve(ctx context.Context) ([]userns.Resolved, error) {
	if len(o.modes) > 0 && o.flags.Given() {
		return nil, command.Usagef(
			"MODE and the flags exclude each other: cooper userns show keep-id, or cooper userns show --userns=keep-id")
	}
	req, err := o.flags.Request(os.LookupEnv)
	if err != nil {
		return nil, err
	}
	if len(o.modes) == 0 && (o.flags.Given() || req.Mode.Name != userns.ModeDefault) {
		r, err := o.flags.Resolve(ctx, o.caller, o.finder)
		return []userns.Resolved{r}, err
	}
	modes := o.modes
	if len(modes) == 0 {
		modes = everyMode(o.caller)
	}
	var all []userns.Resolved
	for _, text := range modes {
		if text == "" {
			return nil, command.Usagef("MODE is empty\nhint: cooper userns show, without one, shows every mode")
		}
		req := userns.Request{Caller: o.caller}
		if req.Mode, err = userns.ParseMode(text); err != nil {
			return nil, err
		}
		r, err := userns.Resolve(req)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// everyMode lists the modes that a caller can have without saying more.
func everyMode(caller userns.Caller) []string {
	switch {
	case !caller.Root:
		return []string{"host", "keep-id", "nomap", "auto"}
	case len(caller.Sub.UIDs) == 0 || len(caller.Sub.GIDs) == 0:
		return []string{"host"}
	}
	return []string{"host", "private", "auto"}
}

// showMap makes the picture of one mode.
func showMap(r userns.Resolved, caller userns.Caller) (shownMap, error) {
	if r.Mode.Name == userns.ModeDefault {
		r.Mode.Name = userns.ModePrivate
		if r.Second == nil {
			r.Mode.Name = userns.ModeHost
		}
	}
	m := shownMap{Mode: r.Mode.String(), Note: modeNote(r, caller)}
	if err := complete(&r, caller); err != nil {
		return m, err
	}
	var err error
	if m.UIDs, err = r.Levels(userns.KindUID); err != nil {
		return m, err
	}
	m.GIDs, err = r.Levels(userns.KindGID)
	return m, err
}

// modeNote says in a few words what a mode is.
func modeNote(r userns.Resolved, caller userns.Caller) string {
	switch r.Mode.Name {
	case userns.ModeHost:
		if caller.Root {
			return "no namespace: root inside is root of the machine"
		}
		return "no second namespace: you are root inside; the default"
	case userns.ModePrivate:
		if caller.Root {
			return "a namespace of the step's own; without maps, the default"
		}
		return "a namespace of the step's own"
	case userns.ModeKeepID:
		return "you are yourself inside"
	case userns.ModeNoMap:
		return "your own ID is not inside"
	case userns.ModeAuto:
		if r.Mode.Auto.Size != 0 {
			return "a range that nothing else uses; here the lowest"
		}
		return "a range that nothing else uses, as long as the image needs; here the lowest, of the least length"
	case userns.ModeNS:
		return "a namespace that is there already"
	}
	return ""
}

// writeMaps draws the maps as tables.
func writeMaps(out io.Writer, maps []shownMap) error {
	var text strings.Builder
	for i, m := range maps {
		if i > 0 {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "%s: %s\n", m.Mode, m.Note)
		if m.Error != "" {
			fmt.Fprintf(&text, "  not possible: %s\n", m.Error)
			continue
		}
		table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
		fmt.Fprintln(table, "  \tHOST\tINTERMEDIATE\tCONTAINER\tCOUNT")
		for _, kind := range []struct {
			name   string
			levels []userns.Level
		}{{"user", m.UIDs}, {"group", m.GIDs}} {
			for _, l := range kind.levels {
				fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%d\n", kind.name, idRange(l.Host, l.Length),
					idRange(l.Intermediate, l.Length), idRange(l.Container, l.Length), l.Length)
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// idRange gives the first and the last of length IDs.
func idRange(first, length uint32) string {
	if length == 1 {
		return strconv.FormatUint(uint64(first), 10)
	}
	return fmt.Sprintf("%d-%d", first, first+(length-1))
}
