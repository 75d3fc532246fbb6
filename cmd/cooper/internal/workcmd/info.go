package workcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
)

// shown is what is shown: the machine and the store with buildah's names, and our settings.
type shown struct {
	working.Machine
	Settings []settings.Value `json:"settings"`
}

func newInfoCmd(env command.Env) *cobra.Command {
	v := &verb{env: env}
	format, debug := "json", false
	cmd := &cobra.Command{
		Use:   "info [flags]",
		Short: "Show this machine and the store, as buildah does, and the settings in force",
		Long: `Show this machine and the store as JSON, with the names that buildah gives it, and the settings of cooper.toml that are
in force, each with the file that it comes from. cooper doctor says whether builds work here, and what to change if they
don't.

A --format is json or a Go template. Fields: .Host .Store .Settings, and below them names as in the example,
or .host and .store, as buildah has them, with the names of the JSON.`,
		Example: `  cooper info
  cooper info --format '{{.Store.GraphRoot}} {{.Host.Arch}}'
  cooper info --format '{{range .Settings}}{{.Key}} {{.Value}} {{.From}}{{println}}{{end}}'`,
		Args: usage(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return v.info(cmd.Context(), format) },
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", format, "json or a Go template")
	f.BoolVarP(&debug, "debug", "d", false, "without effect")
	f.Lookup("debug").Hidden = true
	command.AddStoreFlags(f, &v.store)
	return cmd
}

func (v *verb) info(ctx context.Context, format string) error {
	layout, err := command.ReadLayout[shown](format)
	asJSON := strings.Contains(format, ".host") || strings.Contains(format, ".store") // as buildah's templates have them
	if asJSON {
		layout, err = command.ReadLayout[fields](format)
	}
	if err != nil {
		return err
	}
	set, err := command.Settings()
	if err != nil {
		return err
	}
	return v.run(ctx, func(s *build.Session, _ progress.Sink) error {
		m, err := working.Look(ctx, s)
		if err != nil {
			return err
		}
		is := shown{Machine: m, Settings: set.All()}
		switch {
		case layout.JSON():
			err = command.WriteIndented(v.env.Out(), is)
		case asJSON:
			err = writeFields(v.env.Out(), layout, is)
		default:
			err = command.WriteRows(v.env.Out(), layout, false, []shown{is})
		}
		if err != nil {
			return fmt.Errorf("write what was found: %w", err)
		}
		return nil
	})
}

// fields are what is shown by the names in the JSON.
type fields map[string]any

// writeFields writes what is shown with a layout of fields.
func writeFields(w io.Writer, layout command.Layout, is shown) error {
	text, err := json.Marshal(is)
	if err != nil {
		return err
	}
	var all fields
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	return command.WriteRows(w, layout, false, []fields{all})
}
