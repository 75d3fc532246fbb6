package buildcmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/manifestlist"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/usage"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildflags"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/engineload"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// Options are the flags of cooper build as they are written.
type Options struct {
	// Run and Userns are about RUN steps, Registries about how registries are reached, Store about which store is used.
	Run        stepflags.Run
	Userns     stepflags.Userns
	Registries command.RegistryFlags
	Store      build.StoreOptions
	// Notes are what is to be said about the flags and the environment.
	Notes []string

	files                     []string
	ignoreFile                string
	cppFlags                  []string
	target, pull              string
	tags, contexts, outputs   []string
	places                    []export.Spec
	args                      buildflags.Args
	image                     buildflags.Image
	platform                  buildflags.Platform
	log                       buildflags.Log
	dates                     buildflags.Dates
	cache                     buildflags.Cache
	foreign                   *dialect.Foreign
	pullAlways, pullNever     bool
	sourcePolicy              string
	speaks                    dialect.Dialect
	noCacheFilter             []string
	noCache, quiet, checkOnly bool
	explain                   bool
	push, load                bool
	logUsage, recordNetwork   bool
	usageFile                 string
	// used collects what steps take while they are built.
	used                       *usage.Collector
	progress                   string
	call, format               string
	jobs                       int
	iidFile, iidFileRaw        string
	metadataFile, maxUsedSpace string
	// built is called with what was built; nil: nobody wants to know.
	built func(context.Context, build.Result) error
	// lookPull has a --call fetch base images that the store lacks.
	lookPull bool
}

// NewCmd makes the command build.
func NewCmd(env command.Env) *cobra.Command { return buildCmd(env, new(Options)) }

// buildCmd makes the command with the options that its flags write to.
func buildCmd(env command.Env, o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "build [flags] [CONTEXT | -]",
		Aliases: []string{"bud", "build-using-dockerfile"},
		Short:   "Build an image from a Dockerfile or Containerfile",
		Long: `Build an image from a Dockerfile or Containerfile and put it into the local store, where podman and buildah see it.

CONTEXT is what COPY and ADD take files from:
  a directory, or a tar archive of one, plain or compressed with gzip, bzip2, xz or zstd;
  the URL of a git repository, https://HOST/REPOSITORY.git#REF:DIR, git://, ssh:// or git@HOST:PATH;
  the http(s) URL of a tar archive, or of a Dockerfile that needs no files;
  - for standard input: a tar archive, or a Dockerfile that needs no files.
Without CONTEXT it is the directory of the Dockerfile that -f names, or else the current directory.
The Dockerfile is looked for inside of it. The image ID is printed on standard output, progress on standard error.
The flags of docker, podman and buildah are taken, too: docs/flags.md says what becomes of each.`,
		Example: `  cooper build -t app .
  cooper build -f Containerfile --target test --build-arg VERSION=1.2 .
  cooper build -t app --output type=oci,dest=app.tar .
  cooper build -t registry.example.com/team/app:1 --push .
  cooper build --target binaries --output bin .
  cooper build -t app https://example.com/app.git#v1.2:docker
  tar -c . | cooper build -t app -f docker/Dockerfile -
  cooper build -t app --build-context alpine=docker-image://alpine:3.22 --build-context src=../src .`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkContextArg(env.Dialect, args); err != nil {
				return err
			}
			o.speak(cmd.Flags())
			if o.jobs < 0 {
				return command.Usagef("--jobs=%d: must not be negative", o.jobs)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runBuild(cmd, env, o, o.contextOf(args)) },
	}
	o.speaks = env.Dialect
	o.register(cmd)
	return cmd
}

// register adds all flags of cooper build.
func (o *Options) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&o.tags, "tag", "t", nil, "name of the image, NAME[:TAG]; may be repeated")
	f.StringArrayVarP(&o.outputs, "output", "o", nil,
		"also write the image (type=oci|docker,dest=FILE[,tar=false]), push it (type=registry[,name=NAME]) or write its "+
			"files (type=local|tar,dest=PATH, or DIR, or -)")
	f.BoolVar(&o.push, "push", false,
		"push the image to the registries that its names say; short for --output type=registry")
	f.BoolVar(&o.load, "load", false,
		"give the image to docker's engine, too, if $DOCKER_HOST names one; in the local store it is in any case")
	f.StringVar(&o.format, "format", "",
		"format of the image in the store: oci or docker, whose HEALTHCHECK, ONBUILD and SHELL podman and buildah see "+
			"(default $"+envFormat+", or else oci)")
	f.BoolVar(&o.noCache, "no-cache", false, "run every step, whatever the cache has")
	f.BoolVar(&o.explain, "explain", false,
		"say why each step runs, or what spares it: the first thing that differs from the nearest earlier step")
	f.IntVar(&o.jobs, "jobs", 0, "steps that may run at the same time (default: cooper chooses)")
	f.StringSliceVar(&o.noCacheFilter, "no-cache-filter", nil,
		"stage to run whatever the cache has, by name or number; may be repeated or STAGE,STAGE")
	o.image.Register(f)
	o.dates.Register(f)
	o.cache.Register(f)
	o.Run.Register(f)
	o.Userns.Register(f)
	f.StringVar(&o.iidFile, "iidfile", "", "write the image ID to this file")
	f.StringVar(&o.iidFileRaw, "iidfile-raw", "", "write the image ID without sha256: to this file")
	o.log.Register(f)
	f.StringVar(&o.metadataFile, "metadata-file", "", "write what was built to this file, as JSON")
	f.BoolVar(&o.recordNetwork, "record-network", false,
		"list in the metadata file whom each RUN step in a private network has talked to, with bytes")
	f.BoolVar(&o.logUsage, "log-rusage", false, "say what each RUN step took of the machine")
	f.StringVar(&o.usageFile, "rusage-logfile", "", "write what each RUN step took to this file")
	addFileFlags(cmd, o)
	addStoreFlags(cmd, o)
	f.StringVar(&o.maxUsedSpace, "max-used-space", "",
		"most disk space that all that cooper prune can remove may take, such as 10GB; 0: any "+
			"(default $COOPER_MAX_USED_SPACE, or disk.max-used-space of cooper.toml)")
	f.BoolVar(&o.checkOnly, "check", false, "look for mistakes instead of building; short for --call=check")
	f.StringVar(&o.call, "call", CallBuild, "what to do: build, check, outline or targets; ,format=json for JSON")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors and the image ID")
	f.StringVar(&o.progress, "progress", "",
		"how to show progress: auto, tty, plain, quiet, json, or rawjson as BuildKit writes it (default $BUILDKIT_PROGRESS, or auto)")
	o.registerOthers(f)
}

// addFileFlags adds the flags that say which Dockerfile is read and how.
func addFileFlags(cmd *cobra.Command, o *Options) {
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "file", "f", nil,
		"the Dockerfile: a path, a URL, or - for standard input (default CONTEXT/Containerfile or CONTEXT/Dockerfile); "+
			"of several the instructions follow each other")
	f.StringVar(&o.ignoreFile, "ignorefile", "",
		"the ignore file (default FILE.dockerignore, or .containerignore or .dockerignore in CONTEXT)")
	f.StringVar(&o.target, "target", "", "stage to build (default the last)")
	o.args.Register(f)
	f.StringArrayVar(&o.contexts, "build-context", nil,
		"named context, NAME=DIRECTORY|URL|docker-image://IMAGE|oci-layout://DIR|target:DIR[#STAGE]")
	o.platform.Register(f)
}

// addStoreFlags adds the flags that say where images are kept and come from.
func addStoreFlags(cmd *cobra.Command, o *Options) {
	f := cmd.Flags()
	f.StringVar(&o.pull, "pull", "missing",
		"fetch base images: always, missing, newer (if the registry has another one) or never")
	f.Lookup("pull").NoOptDefVal = "always"
	o.Registries.AddRetries(f, "to pull or push")
	o.Registries.Add(f)
	f.StringVar(&o.sourcePolicy, "source-policy-file", "",
		"rules in BuildKit's JSON that allow, deny or convert base images, repositories and URLs; the first that matches counts")
	command.AddStoreFlags(f, &o.Store)
}

func runBuild(cmd *cobra.Command, env command.Env, o *Options, contextDir string) (err error) {
	c, err := ParseCall(o.call)
	if err != nil {
		return err
	}
	if o.checkOnly && c.Method == CallBuild {
		c.Method = CallCheck
	}
	if o.checkOnly && c.Method != CallCheck {
		return command.Usagef("--check and --call=%s exclude each other", c.Method)
	}
	if c.Method != CallBuild {
		return runCall(cmd, env, o, c, contextDir)
	}
	req, err := o.request(contextDir, env)
	if err != nil {
		return err
	}
	if contextDir == build.Stdin && terminal.Is(env.Stdin) {
		return command.Usagef(
			"the context is to come from standard input, which is a terminal\nhint: tar -c . | cooper build -, or cooper build - <Dockerfile")
	}
	if _, err := o.progressMode(); err != nil {
		return err
	}
	in, reach, err := o.enter(cmd.Context(), env, &req)
	if err != nil {
		return err
	}
	req.Stdin, req.Stdout = env.Stdin, env.Stdout
	ns, note, err := o.Userns.StepNS(cmd.Context(), env)
	if err != nil {
		return err
	}
	req.StepNS = ns
	defer func() { err = errors.Join(err, ns.Joined.Close()) }()
	renderer, closeLog, err := o.renderer(env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	o.used = usage.Collect(renderer, o.logUsage, o.recordNetwork)
	renderer = o.used
	req.Progress, o.Store.Tell = renderer, progress.Tell(renderer)
	for _, text := range slices.Concat(o.Notes, in.Notes, []string{note}) {
		if text != "" {
			renderer.Emit(progress.Note{Text: text})
		}
	}
	session := build.NewSession(build.SessionOptions{Store: o.Store, Registry: reach})
	res, err := build.Build(cmd.Context(), session, req)
	if err == nil {
		err = o.AddToList(cmd.Context(), session, res)
	}
	if err == nil {
		err = engineload.Load(cmd.Context(), in.Engine, session, []build.Result{res}, renderer)
	}
	if err == nil {
		renderer.Emit(progress.Committed{ID: res.ImageID.Encoded()})
	}
	if err = errors.Join(err, session.Close(), renderer.Close()); err != nil {
		return errors.Join(err, o.writeFailure(cmd.Context(), err, res.Why))
	}
	return o.report(cmd.Context(), env, res)
}

// Parse reads the flags of one of several builds, which has no command line of its own, and makes a request of them.
// inline is the text of its Dockerfile; nil: it is a file.
func Parse(env command.Env, words []string, contextDir string, inline *string) (*Options, build.Request, error) {
	o := new(Options)
	cmd := buildCmd(env, o)
	if err := cmd.ParseFlags(words); err != nil {
		return nil, build.Request{}, command.Usage(err)
	}
	o.speak(cmd.Flags())
	if inline != nil {
		o.files = []string{build.Stdin}
	}
	req, err := o.request(contextDir, env)
	return o, req, err
}

// enter goes into the namespace and reads there what nothing else may see: secrets, which the request gets, and how
// registries are reached. notes are what is to be said about the secrets.
func (o *Options) enter(ctx context.Context, env command.Env, req *build.Request) (in Inside,
	reach build.RegistryOptions,
	err error) {
	env.KeepGroups = o.Run.KeepsGroups()
	if in, err = Enter(ctx, env, o.Run.Secrets, o.Loads()); err != nil {
		return in, reach, err
	}
	if err = in.Secrets.Read(&req.Run); err != nil {
		return in, reach, err
	}
	reach, err = o.Registries.Options(ctx, env)
	return in, reach, err
}

// Inside is what a build has in the namespace that was opened outside of it.
type Inside struct {
	// Secrets are the secrets of the command line, whose files are open.
	Secrets *stepflags.SecretFiles
	// Engine is the connection to docker's engine that images are given to; nil: there is none, or none is wanted.
	Engine net.Conn
	// Notes are what is to be said about both.
	Notes []string
}

// Enter opens the files of secrets, and a connection to docker's engine if images are loaded into it, and goes into the
// namespace with them. handOver are more variables for the process there.
func Enter(ctx context.Context, env command.Env, secrets []string, loads bool, handOver ...string) (in Inside,
	err error) {
	// The commands of secrets are at hand as long as the process is, not for this call.
	in.Secrets, err = (&stepflags.Run{Secrets: secrets}).OpenSecrets(env) //nolint:contextcheck // see above
	if err != nil {
		return in, err
	}
	handOver, in.Notes = append(handOver, in.Secrets.HandOver(env)...), in.Secrets.Notes
	if loads {
		var note string
		if in.Engine, note, err = engineload.Open(ctx, env); err != nil {
			return in, err
		}
		given, err := engineload.HandOver(env, in.Engine)
		if err != nil {
			return in, err
		}
		handOver, in.Notes = append(handOver, given...), append(in.Notes, note)
	}
	return in, command.Enter(ctx, env, handOver...)
}

// AddToList adds the image, or the images of the index, to the manifest list that the flags name.
func (o *Options) AddToList(ctx context.Context, s *build.Session, res build.Result) error {
	if o.image.Manifest == "" {
		return nil
	}
	_, err := manifestlist.Add(ctx, s, o.image.Manifest, []string{res.ImageID.Encoded()},
		manifestlist.AddOptions{All: true, Create: true})
	if err != nil {
		return fmt.Errorf("--manifest: %w", err)
	}
	return nil
}

// request makes a request of the flags; every error is a usage error.
func (o *Options) request(contextDir string, env command.Env) (build.Request, error) {
	if err := o.takeEnvironment(os.LookupEnv); err != nil {
		return build.Request{}, err
	}
	req := build.Request{
		Context: contextDir, Dockerfile: command.First(o.files), IgnoreFile: o.ignoreFile, Tags: o.tags, Target: o.target,
		NoCache: o.noCache, Explain: o.explain, TellWhy: o.metadataFile != "", Fresh: o.freshStages(), Jobs: o.jobs,
	}
	o.preprocess(&req, os.Getenv)
	if len(o.files) > 1 {
		req.Then = o.files[1:]
	}
	if err := o.splitTags(&req); err != nil {
		return req, err
	}
	if err := o.check(contextDir); err != nil {
		return req, err
	}
	req.Pull = build.PullPolicy(o.pull)
	if err := o.takeForeign(&req); err != nil {
		return req, err
	}
	if err := errors.Join(o.Registries.Check(env), o.log.Check()); err != nil {
		return req, err
	}
	var err error
	if req.BuildArgs, err = o.args.Values(); err != nil {
		return req, err
	}
	if req.Run, err = o.Run.Options(); err != nil {
		return req, command.Usage(err)
	}
	o.Notes = append(o.Notes, o.Run.Notes...)
	if req.Run.Runtime, err = o.Run.FindRuntime(); err != nil {
		return req, err
	}
	if req.Format, err = imageFormat(o.format); err != nil {
		return req, err
	}
	if err := takeSpace(&req, o.maxUsedSpace); err != nil {
		return req, err
	}
	req.Run.Proxies = o.Run.Proxies(req.BuildArgs)
	if err := o.image.Apply(&req, env.Version); err != nil {
		return req, err
	}
	if req.Contexts, err = parseContexts(o.contexts); err != nil {
		return req, err
	}
	if err := o.platform.Apply(&req); err != nil {
		return req, err
	}
	notes, err := o.cache.Apply(&req)
	if err != nil {
		return req, err
	}
	o.Notes = append(o.Notes, notes...)
	if err := o.chooseOutputs(&req); err != nil {
		return req, err
	}
	return req, o.dates.Apply(&req)
}

// chooseOutputs reads --output, --push and the places among --tag.
func (o *Options) chooseOutputs(req *build.Request) error {
	for _, text := range o.allOutputs() {
		spec, err := export.ParseSpec(text)
		if err != nil {
			return command.Usage(err)
		}
		if spec.Dest == export.Stdout && terminal.Is(os.Stdout) {
			return command.Usagef("--output %q: standard output is a terminal\nhint: redirect it to a file", text)
		}
		req.Outputs = append(req.Outputs, spec)
	}
	req.Outputs = append(req.Outputs, o.places...)
	if err := build.CheckOutputs(*req); err != nil {
		return command.Usage(err)
	}
	return nil
}

// allOutputs are the outputs with the one that --push stands for.
func (o *Options) allOutputs() []string {
	if o.push {
		return append(slices.Clone(o.outputs), "type=registry")
	}
	return o.outputs
}

// freshStages are the stages of --no-cache-filter.
func (o *Options) freshStages() []string {
	return slices.DeleteFunc(slices.Clone(o.noCacheFilter),
		func(name string) bool { return strings.TrimSpace(name) == "" })
}

// envFormat is where podman and buildah look for the format if no flag says it.
const envFormat = "BUILDAH_FORMAT"

// imageFormat reads --format, or what stands for it.
func imageFormat(flag string) (build.Format, error) {
	name, text := "--format", flag
	if text == "" {
		name, text = envFormat, os.Getenv(envFormat)
	}
	if text == "" {
		return "", nil
	}
	format, err := build.ParseFormat(text)
	if err != nil {
		return "", command.Usagef("%s: %w", name, err)
	}
	return format, nil
}

func (o *Options) check(contextDir string) error {
	if err := o.choosePull(); err != nil {
		return err
	}
	if contextDir == build.Stdin && slices.Contains(o.files, build.Stdin) {
		return command.Usagef(
			"standard input can't be the context and the Dockerfile at once\nhint: with -f - the context is a directory or a URL")
	}
	return nil
}

func parseContexts(args []string) (map[string]build.NamedContext, error) {
	m := map[string]build.NamedContext{}
	for _, text := range args {
		key, named, err := build.ParseContext(text)
		if err != nil {
			return nil, command.Usagef("--build-context %w", err)
		}
		m[key] = named
	}
	return m, nil
}
