package bakecmd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/internal/bakefile"
)

// bakeOptions are the flags of cooper bake as they are written.
type bakeOptions struct {
	question           bakefile.Question
	list, jobs, call   string
	check, push, load  bool
	noCache, pull      bool
	sbom, provenance   string
	metadataFile       string
	progress           string
	builder            string
	listTargets, lists bool
	// shared are flags of cooper build that are given to each target.
	shared *pflag.FlagSet
}

// sharedFlags are the names of the flags of cooper build that bake has as well, for each target.
func sharedFlags() []string {
	return []string{
		"authfile", "cert-dir", "creds", "dns", "format", "http-proxy", "isolation", "max-used-space", "retry", "retry-delay",
		"root", "runroot", "runtime", "storage-driver", "storage-opt", "tls-verify", "userns",
	}
}

// NewCmd makes the command bake.
func NewCmd(env command.Env) *cobra.Command {
	var o bakeOptions
	cmd := &cobra.Command{
		Use:   "bake [flags] [TARGET...]",
		Short: "Build what a bake file or compose file lists",
		Long: `Build the targets of docker buildx bake's files: HCL, JSON and compose files, with variables, functions, matrix,
inheritance and groups. They are read by buildx's own code, in the program cooper-bake beside cooper. A TARGET is a
name of a target or group, or a pattern; without one it is default.

Targets are built at the same time, in one process; steps that several have in common are done once. A target that is
the context of others (target:NAME) is built before them. What files ask for outside of the directory, host network
and the like must be allowed with --allow.`,
		Example: `  cooper bake
  cooper bake -f docker-bake.hcl --set '*.platform=linux/arm64' app db
  cooper bake -f compose.yaml --print
  cooper bake --list targets`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.question.Targets = args
			return runBake(cmd, env, &o)
		},
	}
	o.register(cmd, env)
	return cmd
}

func (o *bakeOptions) register(cmd *cobra.Command, env command.Env) {
	f := cmd.Flags()
	f.StringArrayVarP(&o.question.Files, "file", "f", nil,
		"file to read, - for standard input; may be repeated (default $BUILDX_BAKE_FILE, or the usual names)")
	f.StringArrayVar(&o.question.Overrides, "set", nil, "change a target: PATTERN.KEY=VALUE, or += to add")
	f.StringArrayVar(&o.question.Vars, "var", nil, "set a variable: NAME=VALUE")
	f.StringArrayVar(&o.question.Allow, "allow", nil,
		"let the files use fs.read=DIR, fs.write=DIR, fs=DIR, network.host, security.insecure or ssh")
	f.BoolVar(&o.question.Print, "print", false, "print the targets as JSON instead of building them")
	f.StringVar(&o.list, "list", "", "list targets or variables instead of building; type=TYPE,format=json for JSON")
	f.BoolVar(&o.listTargets, "list-targets", false, "")
	f.BoolVar(&o.lists, "list-variables", false, "")
	f.StringVarP(&o.jobs, "jobs", "j", "",
		"how many targets may be built at once, and what if one fails: N, or fail-fast, defer-error or defer-output[,parallel=N]")
	f.StringVar(&o.call, "call", buildcmd.CallBuild, "what to do: build, check, outline or targets")
	f.BoolVar(&o.check, "check", false, "look for mistakes instead of building; short for --call=check")
	f.BoolVar(&o.push, "push", false, "push the images; short for --set=*.output=type=registry")
	f.BoolVar(&o.load, "load", false, "give the images to docker's engine, too; short for --set=*.output=type=docker")
	f.BoolVar(&o.noCache, "no-cache", false, "run every step, whatever the cache has")
	f.BoolVar(&o.pull, "pull", false, "fetch base images anew")
	f.StringVar(&o.sbom, "sbom", "", "short for --set=*.attest=type=sbom")
	f.StringVar(&o.provenance, "provenance", "", "short for --set=*.attest=type=provenance")
	f.StringVar(&o.metadataFile, "metadata-file", "", "write what was built to this file, as JSON, by target")
	f.StringVar(&o.progress, "progress", "",
		"how to show progress: auto, tty, plain, quiet, json, or rawjson as BuildKit writes it (default $BUILDKIT_PROGRESS, or auto)")
	f.StringVar(&o.builder, "builder", "", "without effect")
	for _, name := range []string{"list-targets", "list-variables", "builder"} {
		f.Lookup(name).Hidden = true
	}
	o.shared = buildcmd.NewCmd(env).Flags()
	for _, name := range sharedFlags() {
		if flag := o.shared.Lookup(name); flag != nil {
			f.AddFlag(flag)
		}
	}
}

// complete makes the question of the flags; every error is a usage error.
func (o *bakeOptions) complete() (List, Jobs, error) {
	jobs, err := ParseJobs(o.jobs)
	if err != nil {
		return List{}, jobs, err
	}
	switch {
	case o.listTargets && o.list == "":
		o.list = "targets"
	case o.lists && o.list == "":
		o.list = "variables"
	}
	var list List
	if o.list != "" {
		if list, err = ParseList(o.list); err != nil {
			return list, jobs, err
		}
		o.question.Describe = true
	}
	if o.list != "" && o.question.Print {
		return list, jobs, command.Usagef("--print and --list exclude each other")
	}
	if o.check {
		o.call = buildcmd.CallCheck
	}
	if _, err := buildcmd.ParseCall(o.call); err != nil {
		return list, jobs, err
	}
	if len(o.question.Files) == 0 {
		o.question.Files = filesOfEnvironment()
	}
	if len(o.question.Targets) > 0 && strings.Contains(o.question.Targets[0], "://") {
		return list, jobs, command.Usagef("%s: a bake file in a repository is not fetched\n"+
			"hint: clone it, and run cooper bake there", o.question.Targets[0])
	}
	if len(o.question.Targets) == 0 {
		o.question.Targets = []string{"default"}
	}
	o.addOverrides()
	return list, jobs, nil
}

// filesOfEnvironment are the files that buildx's variable names.
func filesOfEnvironment() (files []string) {
	separator := os.Getenv("BUILDX_BAKE_PATH_SEPARATOR")
	if separator == "" {
		separator = string(os.PathListSeparator)
	}
	for name := range strings.SplitSeq(os.Getenv("BUILDX_BAKE_FILE"), separator) {
		if name = strings.TrimSpace(name); name != "" {
			files = append(files, name)
		}
	}
	return files
}

// addOverrides adds what other flags are short for.
func (o *bakeOptions) addOverrides() {
	add := func(when bool, text string) {
		if when {
			o.question.Overrides = append(o.question.Overrides, text)
		}
	}
	add(o.push, "*.push=true")
	add(o.load, "*.load=true")
	add(o.noCache, "*.no-cache=true")
	add(o.pull, "*.pull=true")
	add(o.sbom != "", "*.attest="+attestation("sbom", o.sbom))
	add(o.provenance != "", "*.attest="+attestation("provenance", o.provenance))
	if o.call != buildcmd.CallBuild {
		method, _, _ := strings.Cut(o.call, ",")
		add(true, "*.call="+method)
	}
}

// attestation is the value of --attest that --sbom and --provenance stand for.
func attestation(kind, value string) string {
	switch value {
	case "true":
		return "type=" + kind
	case "false":
		return "type=" + kind + ",disabled=true"
	}
	return "type=" + kind + "," + value
}

// flagsForAll are the shared flags that were given, as words.
func (o *bakeOptions) flagsForAll() (words []string) {
	o.shared.VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		values := []string{f.Value.String()}
		if several, ok := f.Value.(pflag.SliceValue); ok {
			values = several.GetSlice()
		}
		for _, v := range values {
			words = append(words, "--"+f.Name+"="+v)
		}
	})
	return words
}

func runBake(cmd *cobra.Command, env command.Env, o *bakeOptions) error {
	list, jobs, err := o.complete()
	if err != nil {
		return err
	}
	mode, err := buildcmd.Mode(o.progress)
	if err != nil {
		return err
	}
	o.question.Ask, o.question.Command = mode != show.ModeRawJSON && mode != show.ModeJSON, os.Args
	answer, err := Read(cmd.Context(), env, o.question)
	switch {
	case err != nil:
		return err
	case o.list != "":
		return list.Write(env.Out(), answer)
	case o.question.Print:
		return WriteDefinition(env.Out(), answer)
	}
	b := bake{env: env, options: o, jobs: jobs, mode: mode}
	for _, t := range answer.Targets {
		target, err := newBakeTarget(env, t, o.flagsForAll())
		if err != nil {
			return fmt.Errorf("target %s: %w", t.Name, err)
		}
		b.targets = append(b.targets, target)
	}
	handOver, err := HandOver(env, answer)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(answer.Targets, func(t bakefile.Target) bool {
		return t.Call != "" &&
			t.Call != buildcmd.CallBuild
	}) {
		return b.call(cmd, handOver)
	}
	return b.build(cmd.Context(), handOver)
}

// call says something about each target on standard output, below its name. The status is that of the worst.
func (b *bake) call(cmd *cobra.Command, handOver []string) error {
	if err := command.Enter(cmd.Context(), b.env, handOver...); err != nil {
		return err
	}
	var worst error
	for n, t := range b.targets {
		if t.Linked {
			continue
		}
		given, err := buildcmd.ParseCall(b.options.call)
		if err != nil {
			return err
		}
		c, err := buildcmd.ParseCall(t.Call)
		if err != nil {
			return err
		}
		c.JSON, c.IgnoreStatus = given.JSON, given.IgnoreStatus
		if n > 0 {
			fmt.Fprintln(b.env.Out())
		}
		fmt.Fprintln(b.env.Out(), t.Name)
		if t.Description != "" {
			fmt.Fprintln(b.env.Out(), t.Description)
		}
		fmt.Fprintln(b.env.Out())
		worst = errors.Join(worst, t.options.Say(cmd.Context(), b.env, c, t.request))
	}
	return worst
}
