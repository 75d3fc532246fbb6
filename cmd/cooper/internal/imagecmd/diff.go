package imagecmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/compare"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
)

// diffOptions are the flags of diff.
type diffOptions struct {
	format string
	store  build.StoreOptions
}

func newDiffCmd(env command.Env) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff [flags] IMAGE IMAGE",
		Short: "Show what differs between two images, and why",
		Long: `Show what differs between two images of the store: config, steps, layers and files, each file with what differs of it
(type, mode, owner, content, link, attributes, time) and the step that it is of: between two builds of the same file it
says which step made the difference.

The status is 0 if the images are the same, and 1 if they differ.`,
		Example: `  cooper diff app:1 app:2
  cooper diff --format json app:1 app:2 | jq -r '.files[].path'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return command.Usagef("diff takes two images, got %d words\nhint: podman diff shows what one has changed",
					len(args))
			}
			if o.format != "text" && o.format != "json" {
				return command.Usagef("--format=%s: must be text or json", o.format)
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runDiff(cmd.Context(), env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 2),
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "text", "how to write it: text or json")
	command.Refuse(f, "no container is the latest\nhint: podman diff --latest, on the same store", "latest,l")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func runDiff(ctx context.Context, env command.Env, o *diffOptions, args []string) error {
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := imagenames.Open(o.store)
	report, err := compare.Images(ctx, s, args[0], args[1])
	if err := imagenames.Finish(s, err, args...); err != nil {
		return err
	}
	if o.format == "json" {
		err = command.WriteIndented(env.Out(), report)
	} else {
		_, err = env.Out().Write(diffText(report))
	}
	if err != nil {
		return fmt.Errorf("write differences: %w", err)
	}
	if !report.Equal() {
		return command.StatusError(command.ExitFailed)
	}
	return nil
}

// diffText is the report for people; nothing if nothing differs.
func diffText(r compare.Report) []byte {
	var b bytes.Buffer
	part := func(title string, n int) {
		if n > 0 {
			fmt.Fprintln(&b, title)
		}
	}
	for _, p := range []struct {
		title  string
		fields []compare.Field
	}{{"config", r.Config}, {"steps", r.History}} {
		part(p.title, len(p.fields))
		for _, f := range p.fields {
			fmt.Fprintf(&b, "  %s\n    - %s\n    + %s\n", command.Printable(f.Name), shownValue(f.Before), shownValue(f.After))
		}
	}
	part("layers", len(r.Layers))
	for _, l := range r.Layers {
		step := l.Step[1]
		if step == "" {
			step = l.Step[0]
		}
		fmt.Fprintf(&b, "  %d  %s\n", l.Number, shortened(oneLine(step)))
	}
	part("files", len(r.Files))
	signs := map[string]string{"added": "+", "removed": "-", "changed": "~"}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "  %s %s", signs[f.Change], command.Printable(f.Path))
		if len(f.What) > 0 {
			fmt.Fprintf(&b, "  (%s)", strings.Join(f.What, ", "))
		}
		fmt.Fprintf(&b, "  by %s\n", shortened(oneLine(f.Step)))
	}
	if len(r.Layers) > 0 && len(r.Files) == 0 {
		fmt.Fprintln(&b, "  all files are the same: the layers differ in the order of files, or in parts of seconds")
	}
	return b.Bytes()
}

func shownValue(v any) string {
	if v == nil {
		return "(none)"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return command.Printable(string(text))
}
