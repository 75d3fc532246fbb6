package cachecmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress/lines"
	"github.com/cooperbuild/cooper/build/why"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// whyOptions are the flags of cache why.
type whyOptions struct {
	context, file, target string
	json                  bool
	store                 build.StoreOptions
}

// newWhyCmd makes the command cache why.
func newWhyCmd(env command.Env) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use:   "why [flags] [STEP]",
		Short: "Say why the steps of the last build ran, or needn't run",
		Long: `Say for each step of the last build of a directory why it ran, or what spared it: a sentence a step.

STEP chooses steps: by number, as in 3 or 2/5, by the name of a stage, or by the first words of the instruction.
A step that ran is compared with the nearest earlier one, and the first thing that differs is named. Values of
variables, build arguments and secrets are kept nowhere, so none is shown.
cooper build --explain says the same while it builds.`,
		Example: `  cooper cache why
  cooper cache why 3
  cooper cache why --context app "RUN make"
  cooper cache why --json | jq '.steps[] | select(.cached | not) | .reason'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			q := why.Question{Project: why.ProjectOf(o.context, o.file, o.target), Step: strings.Join(args, " ")}
			s := build.NewSession(build.SessionOptions{Store: o.store})
			a, err := why.Last(cmd.Context(), s, q)
			if err := errors.Join(err, s.Close()); err != nil {
				return err
			}
			return o.write(env.Out(), a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.context, "context", ".", "the context of the build")
	f.StringVarP(&o.file, "file", "f", "", "the Dockerfile that the build was given (default: any)")
	f.StringVar(&o.target, "target", "", "the stage that the build was to end with (default: any)")
	f.BoolVar(&o.json, "json", false, "write JSON")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func (o *whyOptions) write(w io.Writer, a why.Answer) (err error) {
	if o.json {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(a)
	} else {
		err = writeSentences(w, a)
	}
	if err != nil {
		return fmt.Errorf("write the reasons: %w", err)
	}
	return nil
}

// writeSentences writes a line for each step.
func writeSentences(w io.Writer, a why.Answer) error {
	for _, s := range a.Steps {
		what := "ran, since "
		if s.Cached {
			what = "cached: "
		}
		text, more, _ := strings.Cut(s.Text, "\n")
		if more != "" {
			text += " ..."
		}
		line := strings.TrimSpace(s.Step+" "+text) + ": " + what + s.Reason.Text
		if !s.Cached && !s.Kept {
			line += "; its result was not kept"
		}
		if _, err := fmt.Fprintln(w, lines.Text(line)); err != nil {
			return err
		}
	}
	return nil
}
