package imagecmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
)

// imagesOptions are the flags of images.
type imagesOptions struct {
	all, quiet, json, noTrunc, digests, history, noHeading bool
	filters                                                []string
	sort, format                                           string
	store                                                  build.StoreOptions
}

func newImagesCmd(env command.Env) *cobra.Command {
	o := imagesOptions{}
	cmd := &cobra.Command{
		Use:   "images [flags] [NAME]",
		Short: "List the images of the store",
		Long: `List the images of the store, whoever has made them, newest first; with NAME those of that name, which may be a
pattern: app, app:1, registry.example.com/team/*. An image with several names has as many lines.

Images without a name that others were built on, as podman keeps them, are listed with --all alone. What only cooper's
cache needs, such as stages and images that a later build has taken the name from, is listed with --all or
--filter dangling=true; cooper df shows how much that is and cooper prune removes it.

Filters: dangling=true|false, reference=PATTERN, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME|DURATION,
id=PREFIX, digest=PREFIX, containers=true|false, intermediate=true|false, manifest=true|false, readonly=true|false, and
the opposite of all but before and since as KEY!=VALUE.
A --format is json or a Go template for each line, with headings and columns if it begins with the word table. Fields:
.Repository .Tag .ID .Id .ParentId .Digest .CreatedSince .CreatedAt .CreatedTime .Created .Size .VirtualSize .SharedSize
.UniqueSize .Names .RepoTags .RepoDigests .Labels .History .Containers .Dangling .IsDangling .ReadOnly .IsReadOnly. .ID
is short unless --no-trunc is given, .Id isn't. If cooper is called docker, json is an object of these for each line.`,
		Example: `  cooper images
  cooper images --filter label=org.example.team=web --sort size
  cooper images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
  cooper images --format 'table {{.ID}}\t{{.Names}}'
  cooper images --format json | jq '.[].Names'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.Usagef("images takes one name, got %d\nhint: --filter reference=NAME may be given several times",
					len(args))
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runImages(cmd.Context(), env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 1),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "also images without a name that others were built on, and cooper's cache")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "only IDs, each once")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "show IDs in full")
	f.BoolVar(&o.digests, "digests", false, "show digests of manifests")
	f.BoolVar(&o.history, "history", false, "show all names that the images have had")
	command.Refuse(f, "there is no tree of images\nhint: cooper manifest inspect shows the images of an index", "tree")
	f.StringArrayVarP(&o.filters, "filter", "f", nil, "list only what fits KEY=VALUE")
	f.BoolVarP(&o.noHeading, "noheading", "n", false, "no line with headings")
	f.StringVar(&o.sort, "sort", "created", "by what to sort: "+strings.Join(catalog.SortKeys(), ", "))
	f.StringVar(&o.format, "format", "", "json, a Go template, or table and a template")
	f.BoolVar(&o.json, "json", false, "short for --format json")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// imageRow is what a template of images is given.
type imageRow struct {
	Repository, Tag, ID, Digest string
	// Id is the ID in full, as podman has it beside ID.
	Id                               string //nolint:revive // the field's name is podman's
	CreatedSince, CreatedAt, Created string
	CreatedTime                      string
	Size, VirtualSize                string
	SharedSize, UniqueSize           string
	Names, RepoTags, RepoDigests     []string
	Labels                           map[string]string
	History                          string
	Containers                       int
	Dangling, ReadOnly               bool
	// IsDangling and IsReadOnly are podman's other names of these.
	IsDangling, IsReadOnly bool
	// ParentID is empty: no record says which image another was built on.
	ParentID string
}

// listOptions makes options of the flags; every error is a usage error.
func (o *imagesOptions) listOptions(args []string) (catalog.ListOptions, error) {
	filters, err := catalog.ParseFilters(o.filters)
	if err != nil {
		return catalog.ListOptions{}, command.Usagef("--filter %w", err)
	}
	for _, name := range args {
		if err := filters.AddReference(name); err != nil {
			return catalog.ListOptions{}, command.Usage(err)
		}
	}
	if !slices.Contains(catalog.SortKeys(), o.sort) {
		return catalog.ListOptions{}, command.Usagef("--sort=%s: must be one of %s", o.sort,
			strings.Join(catalog.SortKeys(), ", "))
	}
	if o.json && o.format == "" {
		o.format = "json"
	}
	if o.quiet && o.format != "" {
		return catalog.ListOptions{}, command.Usagef("--quiet and --format: give one of them\nhint: --format '{{.ID}}'")
	}
	return catalog.ListOptions{All: o.all || filters.Intermediate(), Cached: o.all || filters.Dangling(),
		Filters: filters}, nil
}

// layoutOf reads the format, or the flags that stand for one.
func (o *imagesOptions) layoutOf(env command.Env) (command.Layout, error) {
	format := command.LineFormat(env, o.format)
	switch {
	case o.quiet:
		format = "{{.ID}}"
	case format == "":
		columns := []string{"table {{.Repository}}", "{{.Tag}}", "{{.ID}}", "{{.CreatedSince}}", "{{.Size}}"}
		if o.digests {
			columns = slices.Insert(columns, 2, "{{.Digest}}")
		}
		if o.history {
			columns = append(columns, "{{.History}}")
		}
		format = strings.Join(columns, `\t`)
	}
	return command.ReadLayout[imageRow](format)
}

func runImages(ctx context.Context, env command.Env, o *imagesOptions, args []string) error {
	options, err := o.listOptions(args)
	if err != nil {
		return err
	}
	l, err := o.layoutOf(env)
	if err != nil {
		return err
	}
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := imagenames.Open(o.store)
	list, err := catalog.List(ctx, s, options)
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	if l.JSON() {
		err = command.WriteIndented(env.Out(), append([]catalog.Image{}, list...))
	} else {
		err = command.WriteRows(env.Out(), l, !o.noHeading, o.rows(list))
	}
	if err != nil {
		return fmt.Errorf("write images: %w", err)
	}
	return nil
}

// rows are the lines of the list.
func (o *imagesOptions) rows(list []catalog.Image) (rows []imageRow) {
	seen := map[string]bool{}
	for _, r := range catalog.Rows(list, catalog.SortKey(o.sort)) {
		if o.quiet && seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		since := since(r.CreatedAt)
		rows = append(rows, imageRow{
			Repository: command.Printable(r.Repository), Tag: command.Printable(r.Tag), ID: o.id(r.ID), Id: r.ID,
			Digest:       r.Digest.String(),
			CreatedSince: since, CreatedAt: r.CreatedAt.String(), Created: since, CreatedTime: r.CreatedAt.String(),
			SharedSize: shownSize(r.SharedSize), UniqueSize: shownSize(r.Size - r.SharedSize),
			Size: shownSize(r.Size), VirtualSize: shownSize(r.VirtualSize),
			Names: command.PrintableAll(r.Names), RepoTags: command.PrintableAll(r.Names),
			RepoDigests: command.PrintableAll(r.RepoDigests),
			Labels:      r.Labels, History: command.Printable(strings.Join(r.History, ", ")), Containers: r.Containers,
			Dangling: r.Dangling, ReadOnly: r.ReadOnly, IsDangling: r.Dangling, IsReadOnly: r.ReadOnly,
		})
	}
	return rows
}

func (o *imagesOptions) id(id string) string { return shownID(id, o.noTrunc) }

// shownID is an ID for people: its first digits, or all.
func shownID(id string, whole bool) string {
	if whole {
		return "sha256:" + id
	}
	return build.ShortID(id)
}

// shownSize is a size for people, in three digits.
func shownSize(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// since says how long ago a time is.
func since(t time.Time) string { return units.HumanDuration(max(0, time.Since(t))) + " ago" }
