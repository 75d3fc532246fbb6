package diskcmd

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
	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// dfOptions are the flags of df.
type dfOptions struct {
	format  string
	verbose bool
	store   build.StoreOptions
}

// NewDfCmd makes the command df.
func NewDfCmd(env command.Env) *cobra.Command {
	var o dfOptions
	cmd := &cobra.Command{
		Use:   "df [flags]",
		Short: "Show what the image store holds on disk, and how much of it prune can give back",
		Long: `Show what the image store holds on disk, by type:
  images   with a name, in use by a container, or another tool's: cooper prune leaves them alone
  layers   that only cooper's cache holds
  shifted  copies of layers for an ID map
  mounts   the directories of RUN --mount=type=cache
  sources  downloaded files and git repositories
  records  small files: which layer came of which step, images without a name, digests of context files

Sizes are what is allocated on disk, files with several names once. RECLAIMABLE is what cooper prune --all would give
back now; what running builds use is not in it. Everything is measured, so it takes as long as looking at every file.`,
		Example: `  cooper df
  cooper df -v
  cooper df --format json | jq '.types[] | {type, reclaimable}'`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.format != "table" && o.format != "json" {
				return command.Usagef("--format=%s: must be table or json", o.format)
			}
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := build.NewSession(build.SessionOptions{Store: o.store})
			usage, err := reclaim.UsageIn(cmd.Context(), s)
			if err := errors.Join(err, s.Close()); err != nil {
				return err
			}
			return o.write(env.Out(), usage)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "table", "how to write it: table or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "list each item, and what builds of each context have made")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// write writes the report.
func (o *dfOptions) write(w io.Writer, u reclaim.Usage) error {
	write := o.writeTable
	if o.format == "json" {
		write = o.writeJSON
	}
	if err := write(w, u); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (o *dfOptions) writeTable(w io.Writer, u reclaim.Usage) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TYPE\tCOUNT\tSIZE\tRECLAIMABLE\tLAST USED")
	for _, k := range u.Kinds {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", k.Kind, k.Count, disk.FormatSize(k.Bytes), disk.FormatSize(k.Reclaimable),
			ago(k.LastUse))
	}
	if err := t.Flush(); err != nil || !o.verbose {
		return err
	}
	fmt.Fprintln(w)
	if err := writeItems(w, u.Items); err != nil || len(u.Projects) == 0 {
		return err
	}
	fmt.Fprintln(t, "\nPROJECT\tCOUNT\tSIZE")
	for _, p := range u.Projects {
		fmt.Fprintf(t, "%s\t%d\t%s\n", command.Printable(p.Project), p.Count, disk.FormatSize(p.Bytes))
	}
	return t.Flush()
}

// writeItems writes a table with a line for each item.
func writeItems(w io.Writer, items []disk.Item) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TYPE\tID\tSIZE\tLAST USED\tWHAT")
	for _, i := range items {
		name := i.Name()
		if i.Kind == disk.Layers {
			name = name[:min(len(name), 12)]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Kind, command.Printable(name), disk.FormatSize(i.Size.Bytes), ago(i.LastUse),
			command.Printable(about(i)))
	}
	return t.Flush()
}

// about says in some words what an item is.
func about(i disk.Item) string {
	var words []string
	if i.InUse {
		words = append(words, "in use")
	}
	if i.About != "" {
		const most = 60
		line, _, _ := strings.Cut(i.About, "\n")
		if r := []rune(line); len(r) > most {
			line = string(r[:most]) + "..."
		}
		words = append(words, line)
	}
	return strings.Join(words, ": ")
}

// ago is how long a time is past.
func ago(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return strings.ToLower(units.HumanDuration(max(0, time.Since(t)))) + " ago"
}

func (o *dfOptions) writeJSON(w io.Writer, u reclaim.Usage) error {
	type kind struct {
		Type        disk.Kind  `json:"type"`
		Count       int        `json:"count"`
		Bytes       int64      `json:"bytes"`
		Reclaimable int64      `json:"reclaimable"`
		LastUse     *time.Time `json:"lastUse,omitempty"`
	}
	type project struct {
		Project string `json:"project"`
		Count   int    `json:"count"`
		Bytes   int64  `json:"bytes"`
	}
	var report struct {
		Types    []kind     `json:"types"`
		Projects []project  `json:"projects,omitempty"`
		Items    []jsonItem `json:"items,omitempty"`
	}
	for _, p := range u.Projects {
		report.Projects = append(report.Projects, project(p))
	}
	for _, k := range u.Kinds {
		report.Types = append(report.Types, kind{k.Kind, k.Count, k.Bytes, k.Reclaimable, known(k.LastUse)})
	}
	if o.verbose {
		report.Items = jsonItems(u.Items)
	}
	return command.WriteIndented(w, report)
}

// jsonItem is an item for programs.
type jsonItem struct {
	Type    disk.Kind  `json:"type"`
	ID      string     `json:"id"`
	Name    string     `json:"name,omitempty"`
	About   string     `json:"about,omitempty"`
	Bytes   int64      `json:"bytes"`
	LastUse *time.Time `json:"lastUse,omitempty"`
	InUse   bool       `json:"inUse"`
}

func jsonItems(items []disk.Item) (all []jsonItem) {
	for _, i := range items {
		all = append(all, jsonItem{i.Kind, i.ID, i.Label, i.About, i.Size.Bytes, known(i.LastUse), i.InUse})
	}
	return all
}

// known is nil for a time that nobody knows.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
