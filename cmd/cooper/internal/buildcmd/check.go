package buildcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildflags"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// The methods of --call.
const (
	CallBuild   = "build"
	CallCheck   = "check"
	callOutline = "outline"
	callTargets = "targets"
)

// Call is what to do with a Dockerfile: build it, or say something about it.
type Call struct {
	// Method is one of the methods.
	Method string
	// JSON writes the result for programs.
	JSON bool
	// IgnoreStatus has findings not count as a failure.
	IgnoreStatus bool
}

// ParseCall reads METHOD[,format=text|json][,ignorestatus]; "lint" is another name for check.
func ParseCall(text string) (Call, error) {
	fields := strings.Split(text, ",")
	c := Call{Method: fields[0]}
	switch c.Method {
	case "lint":
		c.Method = CallCheck
	case "":
		c.Method = CallBuild
	case CallBuild, CallCheck, callOutline, callTargets:
	default:
		return c, command.Usagef("--call=%s: must be %s, %s, %s or %s", c.Method, CallBuild, CallCheck, callOutline,
			callTargets)
	}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case key == "format" && (value == "json" || value == "text"):
			c.JSON = value == "json"
		case key == "ignorestatus" && (value == "" || value == "true" || value == "false"):
			c.IgnoreStatus = value != "false"
		default:
			return c, command.Usagef("--call=%s: %q must be format=text, format=json or ignorestatus", text, field)
		}
	}
	return c, nil
}

// NewCheckCmd makes the command check.
func NewCheckCmd(env command.Env) *cobra.Command {
	o := Options{
		Run: stepflags.Run{Network: stepflags.NetworkDefault}, image: buildflags.Image{InheritLabels: true},
		dates: buildflags.Dates{Rewrite: true},
		pull:  string(build.PullMissing),
	}
	var format string
	cmd := &cobra.Command{
		Use:   "check [flags] [CONTEXT]",
		Short: "Look for mistakes in a Dockerfile or Containerfile without building it",
		Long: `Look for mistakes in a Dockerfile or Containerfile without building it. The rules, and their pages, are those of
docker build --check; # check=skip=RULE,... in the file's first lines or above an instruction turns rules off.

All stages are checked, unless there is a --target. Base images are looked up in the local store only, unless --pull
is given. No user namespace is needed, and the store is only read. The exit status is 0 if there is nothing to say, 1
if there is.`,
		Example: `  cooper check
  cooper check -f Containerfile --format json .`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.Usagef("check takes one argument, the context directory, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			contextDir := "."
			if len(args) > 0 {
				contextDir = args[0]
			}
			c, err := ParseCall(CallCheck + ",format=" + format)
			if err != nil {
				return command.Usagef("--format=%s: must be text or json", format)
			}
			return runCall(cmd, env, &o, c, contextDir)
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "text", "how to write the findings: text or json")
	addFileFlags(cmd, &o)
	addStoreFlags(cmd, &o)
	return cmd
}

// runCall says something about a Dockerfile on standard output.
func runCall(cmd *cobra.Command, env command.Env, o *Options, c Call, contextDir string) error {
	req, err := o.request(contextDir, env)
	if err != nil {
		return err
	}
	if contextDir == build.Stdin && terminal.Is(env.Stdin) {
		return command.Usagef(
			"the context is to come from standard input, which is a terminal\nhint: cooper check - <Dockerfile")
	}
	o.lookPull = cmd.Flags().Lookup("pull").Changed && req.Pull != build.PullNever
	req.Stdin = env.Stdin
	return o.Say(cmd.Context(), env, c, req)
}

// Say says something about the Dockerfile of a request on standard output.
func (o *Options) Say(ctx context.Context, env command.Env, c Call, req build.Request) (err error) {
	req.Run.Insecure, req.Run.HostNetwork = true, true // what a build allows makes a Dockerfile no better or worse
	look := build.LookLocal
	if o.lookPull {
		look = build.LookPull
	}
	if look == build.LookPull || build.NeedsStore(req) {
		if err := command.Enter(ctx, env); err != nil {
			return err
		}
	}
	var reach build.RegistryOptions
	if look == build.LookPull {
		if reach, err = o.Registries.Options(ctx, env); err != nil {
			return err
		}
	}
	s := build.NewSession(build.SessionOptions{Store: o.Store, Registry: reach})
	defer func() { err = errors.Join(err, s.Close()) }()
	switch c.Method {
	case callOutline:
		return writeCall(env, c, func() (report, error) { return build.Outline(ctx, s, req, look) })
	case callTargets:
		return writeCall(env, c, func() (report, error) { return build.Targets(ctx, s, req) })
	}
	return runCheck(ctx, env, c, func(ctx context.Context) (build.CheckResult, error) {
		return build.Check(ctx, s, req, look)
	})
}

// report is a result with its two forms.
type report interface {
	WriteText(w io.Writer) error
	WriteJSON(w io.Writer) error
}

func writeCall(env command.Env, c Call, do func() (report, error)) error {
	r, err := do()
	if err != nil {
		return err
	}
	return writeReport(env, c, r)
}

func writeReport(env command.Env, c Call, r report) error {
	write := r.WriteText
	if c.JSON {
		write = r.WriteJSON
	}
	if err := write(env.Out()); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func runCheck(ctx context.Context, env command.Env, c Call, do func(context.Context) (build.CheckResult, error)) error {
	res, err := do(ctx)
	if err != nil {
		return err
	}
	for _, note := range res.Notes {
		fmt.Fprintln(env.Errs(), note)
	}
	if err := writeReport(env, c, res); err != nil {
		return err
	}
	switch {
	case res.Err != nil && !c.JSON:
		return res.Err
	case (len(res.Warnings) > 0 || res.Err != nil) && !c.IgnoreStatus:
		return command.StatusError(command.ExitFailed)
	}
	return nil
}
