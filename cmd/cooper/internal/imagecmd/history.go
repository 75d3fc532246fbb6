package imagecmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
)

// historyOptions are the flags of history.
type historyOptions struct {
	quiet, noTrunc, human bool
	format, platform      string
	store                 build.StoreOptions
}

func newHistoryCmd(env command.Env) *cobra.Command {
	var o historyOptions
	cmd := &cobra.Command{
		Use:   "history [flags] IMAGE",
		Short: "Show the steps that made an image",
		Long: `Show the steps that made an image, the last one first, each with the size of its layer. A step has an ID if the store
has the image that ends with it.

A --format is json or a Go template for each step, with headings and columns if it begins with the word table. Fields:
.ID .Created .CreatedSince .CreatedAt .CreatedBy .Size .Comment .Tags. If cooper is called docker, json is an object of
these for each step.`,
		Example: `  cooper history app
  cooper history --no-trunc --format '{{.Size}}\t{{.CreatedBy}}' app
  cooper history --format json app | jq '.[].CreatedBy'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return command.Usagef("history takes one image, got %d words", len(args))
			}
			if o.quiet && o.format != "" {
				return command.Usagef("--quiet and --format: give one of them\nhint: --format '{{.ID}}'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runHistory(cmd.Context(), env, &o,
				args[0])
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 1),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "only IDs")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "show IDs and steps in full")
	f.BoolVarP(&o.human, "human", "H", true, "show sizes and times for people; false: in bytes and in RFC 3339")
	f.StringVar(&o.format, "format", "", "json, a Go template, or table and a template")
	f.StringVar(&o.platform, "platform", "", "which image of an index to show, OS/ARCH[/VARIANT] (default this machine's)")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// historyRow is what a template of history is given.
type historyRow struct {
	ID, Created, CreatedSince, CreatedAt string
	CreatedBy, Size, Comment             string
	Tags                                 []string
}

func runHistory(ctx context.Context, env command.Env, o *historyOptions, name string) error {
	format := command.LineFormat(env, o.format)
	switch {
	case o.quiet:
		format = "{{.ID}}"
	case format == "":
		format = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
	}
	l, err := command.ReadLayout[historyRow](format)
	if err != nil {
		return err
	}
	platform, err := onePlatform(o.platform)
	if err != nil {
		return err
	}
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := imagenames.Open(o.store)
	steps, err := catalog.History(ctx, s, name, platform)
	if err := imagenames.Finish(s, err, name); err != nil {
		return err
	}
	if l.JSON() {
		err = command.WriteIndented(env.Out(), append([]catalog.Step{}, steps...))
	} else {
		err = command.WriteRows(env.Out(), l.Named(map[string]string{"ID": "IMAGE"}), true, o.rows(steps))
	}
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

func (o *historyOptions) rows(steps []catalog.Step) []historyRow {
	rows := make([]historyRow, 0, len(steps))
	for _, s := range steps {
		r := historyRow{
			ID: s.ID, CreatedBy: oneLine(s.CreatedBy), Comment: oneLine(s.Comment), Tags: command.PrintableAll(s.Tags),
			Size: strconv.FormatInt(s.Size, 10),
		}
		if s.ID != catalog.MissingID {
			r.ID = shownID(s.ID, o.noTrunc)
		}
		if !s.Created.IsZero() {
			r.CreatedAt = s.Created.Format(time.RFC3339)
			r.CreatedSince = r.CreatedAt
		}
		if o.human {
			r.Size = shownSize(s.Size)
			if !s.Created.IsZero() {
				r.CreatedSince = since(s.Created)
			}
		}
		r.Created = r.CreatedSince
		if !o.noTrunc {
			r.CreatedBy = shortened(r.CreatedBy)
		}
		rows = append(rows, r)
	}
	return rows
}

// oneLine makes one line of a text that an image has, without what a terminal would obey.
func oneLine(text string) string {
	return command.Printable(strings.NewReplacer("\n", " ", "\t", " ", "\r", " ").Replace(text))
}

// shortened cuts a text off where docker does.
func shortened(text string) string {
	const most = 45
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}
