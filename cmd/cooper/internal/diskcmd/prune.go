package diskcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// pruneOptions are the flags of prune as they are written.
type pruneOptions struct {
	all, force, dryRun        bool
	keepStorage, maxUsedSpace string
	filters, types            []string
	store                     build.StoreOptions
}

// NewPruneCmd makes the command prune.
func NewPruneCmd(env command.Env) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove what only cooper's cache holds",
		Long: `Remove what only cooper's cache holds, least recently used first: layers that no image with a name has, copies of layers for an ID map,
cache mounts, downloaded sources, and records. cooper df shows how much there is of each.

Without --all, the records and copies stay by which builds of images that have a name find their layers again.

Never removed are images with a name and their layers, images that podman or buildah have made, layers of containers,
and whatever a build that runs now may use. Builds may run meanwhile: they find a thing whole or not at all.`,
		Example: `  cooper prune
  cooper prune --all --force
  cooper prune --max-used-space 10GB --filter until=48h
  cooper prune --type=mounts,sources --dry-run`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runPrune(cmd.Context(), env, &o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "also what builds of images with a name would use")
	f.BoolVarP(&o.force, "force", "f", false, "don't ask")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	f.StringVar(&o.maxUsedSpace, "max-used-space", "",
		"stop when all that can be removed takes no more than this, such as 10GB or 512MiB")
	f.StringVar(&o.keepStorage, "keep-storage", "", "the same, by docker's older name")
	f.StringArrayVar(&o.filters, "filter", nil, "remove only what fits: until=DURATION, not used for so long, such as 24h")
	f.StringSliceVar(&o.types, "type", nil, "remove only these: layers, shifted, mounts, sources, records")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// policy makes a policy of the flags; every error is a usage error.
func (o *pruneOptions) policy(now time.Time) (disk.Policy, error) {
	p := disk.Policy{Shared: o.all}
	if o.keepStorage != "" && o.maxUsedSpace != "" {
		return p, command.Usagef("--keep-storage and --max-used-space are two names for the same thing: give one of them")
	}
	for flag, text := range map[string]string{"--keep-storage": o.keepStorage, "--max-used-space": o.maxUsedSpace} {
		if text == "" {
			continue
		}
		var err error
		if p.Limit, err = disk.ParseSize(text); err != nil {
			return p, command.Usagef("%s: %w", flag, err)
		}
	}
	for _, filter := range o.filters {
		name, value, _ := strings.Cut(filter, "=")
		if name != "until" {
			return p, command.Usagef("--filter %q: must be until=DURATION", filter)
		}
		unused, err := time.ParseDuration(value)
		if err != nil || unused < 0 {
			return p, command.Usagef("--filter %q: must be a duration that isn't negative, such as 24h or 30m", filter)
		}
		if at := now.Add(-unused); p.Unused.IsZero() || at.Before(p.Unused) {
			p.Unused = at
		}
	}
	if len(o.types) > 0 {
		var err error
		if p.Kinds, err = disk.ParseKinds(strings.Join(o.types, ",")); err != nil {
			return p, command.Usagef("--%w", err)
		}
	}
	return p, nil
}

// errNotSure is why nothing was removed.
var errNotSure = errors.New("nothing was removed")

func runPrune(ctx context.Context, env command.Env, o *pruneOptions) error {
	policy, err := o.policy(time.Now())
	if err != nil {
		return err
	}
	if !o.force && !o.dryRun && !terminal.Is(env.Stdin) {
		return command.Usagef(
			"standard input is no terminal to ask on\nhint: --force removes without asking, --dry-run shows what would be removed")
	}
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := build.NewSession(build.SessionOptions{Store: o.store})
	gone, err := reclaim.PruneIn(ctx, s, reclaim.PruneRequest{Policy: policy,
		Sure: func(items []disk.Item) (bool, error) {
			switch {
			case o.dryRun:
				return false, writePruned(env, items, "Total that would be reclaimed: ")
			case o.force || len(items) == 0:
				return true, nil
			}
			return ask(ctx, env, items)
		}})
	err = errors.Join(err, s.Close())
	if o.dryRun {
		return err
	}
	if errors.Is(err, errNotSure) {
		return err
	}
	return errors.Join(writePruned(env, gone, "Total reclaimed space: "), err)
}

// ask asks the user.
func ask(ctx context.Context, env command.Env, items []disk.Item) (bool, error) {
	var parts []string
	for _, k := range disk.Kinds() {
		n := 0
		for _, i := range items {
			if i.Kind == k {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%d)", k, n))
		}
	}
	answer, err := command.Ask(ctx, env, bufio.NewReader(env.Stdin),
		fmt.Sprintf("This will remove %s: %s.\nAre you sure you want to continue? [y/N] ",
			strings.Join(parts, ", "), disk.FormatSize(disk.Freed(items))))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); err == nil && (answer == "y" || answer == "yes") {
		return true, nil
	}
	return false, errNotSure // no answer is no
}

// withoutRecords makes one line of all the records.
func withoutRecords(items []disk.Item) (rest []disk.Item) {
	all := disk.Item{Kind: disk.Records}
	n := 0
	for _, i := range items {
		if i.Kind != disk.Records {
			rest = append(rest, i)
			continue
		}
		n++
		all.Size.Bytes += i.Size.Bytes
		if i.LastUse.After(all.LastUse) {
			all.LastUse = i.LastUse
		}
	}
	if n > 0 {
		all.Label = fmt.Sprintf("%d of them", n)
		rest = append(rest, all)
	}
	return rest
}

func writePruned(env command.Env, items []disk.Item, total string) error {
	var err error
	if len(items) > 0 {
		if err = writeItems(env.Out(), withoutRecords(items)); err == nil {
			_, err = fmt.Fprintln(env.Out())
		}
	}
	if err == nil {
		_, err = fmt.Fprintln(env.Out(), total+disk.FormatSize(disk.Freed(items)))
	}
	if err != nil {
		return fmt.Errorf("write what was removed: %w", err)
	}
	return nil
}
