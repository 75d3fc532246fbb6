package workcmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// containersOptions are the flags of containers.
type containersOptions struct {
	verb
	all, json, noHeading, noTrunc, quiet bool
	format                               string
	filters                              []string
}

// containerRow is what a template of --format is given.
type containerRow struct{ ContainerID, Builder, ImageID, ImageName, ContainerName string }

// containerJSON is an entry of --json.
type containerJSON struct {
	ID            string `json:"id"`
	Builder       bool   `json:"builder"`
	ImageID       string `json:"imageid"`
	ImageName     string `json:"imagename"`
	ContainerName string `json:"containername"`
}

func newContainersCmd(env command.Env) *cobra.Command {
	o := &containersOptions{verb: verb{env: env}}
	cmd := &cobra.Command{
		Use:     "containers [flags]",
		Aliases: []string{"ps", "ls", "list"},
		Short:   "List working containers",
		Long: `List working containers, those that buildah has made too, oldest first. --all lists the containers of all tools that use
the store; working ones have a * as BUILDER.

Filters: id=ID, name=NAME, ancestor=IMAGE. A --format is json or a Go template for each line; fields: .ContainerID
.Builder .ImageID .ImageName .ContainerName.`,
		Example: `  cooper containers
  cooper containers --quiet --filter ancestor=debian
  cooper containers --format '{{.ContainerName}} {{.ImageName}}'`,
		Args: usage(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.do(cmd.Context()) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "list the containers of other tools, too")
	f.BoolVar(&o.json, "json", false, "the same as --format=json")
	f.BoolVarP(&o.noHeading, "noheading", "n", false, "show no headings")
	f.BoolVar(&o.noTrunc, "notruncate", false, "show IDs in full")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but IDs, in full")
	f.StringVar(&o.format, "format", "", "json or a Go template")
	f.StringArrayVarP(&o.filters, "filter", "f", nil, "show only what matches, KEY=VALUE")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func (o *containersOptions) do(ctx context.Context) error {
	match, err := o.matcher()
	if err != nil {
		return err
	}
	format := o.format
	switch {
	case o.json:
		format = "json"
	case o.quiet:
		format = "{{.ContainerID}}"
	case format == "":
		format = `table {{.ContainerID}}\t{{.Builder}}\t{{.ImageID}}\t{{.ImageName}}\t{{.ContainerName}}`
	}
	layout, err := command.ReadLayout[containerRow](format)
	if err != nil {
		return err
	}
	layout = layout.Named(map[string]string{"ImageID": "IMAGE ID", "ContainerID": "CONTAINER ID"})
	return o.run(ctx, func(s *build.Session, _ progress.Sink) error {
		all, err := working.List(ctx, s)
		if err != nil {
			return err
		}
		rows, entries := []containerRow{}, []containerJSON{}
		for _, c := range all {
			if !c.Working && !o.all || !match(c) {
				continue
			}
			rows = append(rows, o.row(c))
			entries = append(entries, containerJSON{c.ID, c.Working, c.ImageID, c.ImageName, c.Name})
		}
		if layout.JSON() {
			err = command.WriteIndented(o.env.Out(), entries)
		} else {
			err = command.WriteRows(o.env.Out(), layout, !o.noHeading, rows)
		}
		if err != nil {
			return fmt.Errorf("write list: %w", err)
		}
		return nil
	})
}

// shortID is how many digits of an ID are shown.
const shortID = 12

func (o *containersOptions) row(c working.Listed) containerRow {
	r := containerRow{ContainerID: c.ID, ImageID: c.ImageID, ImageName: command.Printable(c.ImageName),
		ContainerName: command.Printable(c.Name)}
	if c.Working {
		r.Builder = "*"
	}
	if r.ImageName == "" && c.ImageID == "" {
		r.ImageName = "scratch"
	}
	if !o.noTrunc && !o.quiet && o.format == "" {
		r.ContainerID, r.ImageID = r.ContainerID[:min(shortID, len(r.ContainerID))], r.ImageID[:min(shortID, len(r.ImageID))]
	}
	return r
}

// matcher reads the filters. Of those with one key one must match.
func (o *containersOptions) matcher() (func(working.Listed) bool, error) {
	want := map[string][]string{}
	for _, list := range o.filters {
		for text := range strings.SplitSeq(list, ",") {
			key, value, ok := strings.Cut(text, "=")
			if !ok || key != "id" && key != "name" && key != "ancestor" {
				return nil, command.Usagef("--filter %q: must be id=ID, name=NAME or ancestor=IMAGE", text)
			}
			want[key] = append(want[key], value)
		}
	}
	return func(c working.Listed) bool {
		for key, values := range want {
			have := map[string]string{"id": c.ID, "name": c.Name, "ancestor": c.ImageName}[key]
			if !matches(key, have, values) && (key != "ancestor" || !matches("id", c.ImageID, values)) {
				return false
			}
		}
		return true
	}, nil
}

// matches tells whether one of some values is meant by what a container has: an ID by its beginning, others by a part.
func matches(key, have string, values []string) bool {
	for _, v := range values {
		if key == "id" && strings.HasPrefix(have, v) || key != "id" && strings.Contains(have, v) {
			return true
		}
	}
	return false
}
