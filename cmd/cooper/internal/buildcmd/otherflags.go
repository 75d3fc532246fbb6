package buildcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/sourcepolicy"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildflags"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// registerOthers adds the flags of other tools that cooper has under another name, or that no help shows. All others
// are registered before.
func (o *Options) registerOthers(f *pflag.FlagSet) {
	f.BoolVar(&o.pullAlways, "pull-always", false, "--pull=always")
	f.BoolVar(&o.pullNever, "pull-never", false, "--pull=never")
	f.StringSliceVar(&o.cppFlags, "cpp-flag", nil,
		"argument for cpp, the C preprocessor, for files whose name ends in .in (default $"+envCPPFlags+")")
	for _, name := range []string{"pull-always", "pull-never"} {
		f.Lookup(name).Hidden = true
	}
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name {
		case "net":
			name = "network"
		case "userns-uid-map":
			name = "uidmap"
		case "userns-gid-map":
			name = "gidmap"
		case "userns-uid-map-user":
			name = "subuidname"
		case "userns-gid-map-group":
			name = "subgidname"
		}
		return pflag.NormalizedName(name)
	})
	o.foreign = dialect.Register(f)
}

// envCPPFlags is where podman and buildah look for arguments of the C preprocessor, besides --cpp-flag.
const envCPPFlags = "BUILDAH_CPPFLAGS"

// preprocess asks for the C preprocessor where its arguments are given, or the dialect has it.
func (o *Options) preprocess(req *build.Request, get func(string) string) {
	req.PreprocessorFlags = append(strings.Fields(get(envCPPFlags)), o.cppFlags...)
	req.Preprocess = o.speaks.Containers() || len(req.PreprocessorFlags) > 0
}

// envSourcePolicy is where buildx looks for a source policy.
const envSourcePolicy = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"

// readSourcePolicy reads the policy of --source-policy-file, whose first rule that matches counts as in podman and
// buildah, or of buildx's variable, of whose rules the last counts as in BuildKit.
func (o *Options) readSourcePolicy(req *build.Request) error {
	path, order := o.sourcePolicy, sourcepolicy.FirstWins
	if path == "" {
		path, order = os.Getenv(envSourcePolicy), sourcepolicy.LastWins
	}
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	var p *sourcepolicy.Policy
	if err == nil {
		p, err = sourcepolicy.Parse(text, order)
	}
	if err != nil {
		return command.Usagef("loading source policy %s: %w", path, err)
	}
	req.SourcePolicy = p
	return nil
}

// takeForeign notes which flags of other tools have no effect, and refuses those that can't be passed over. The request
// gets the source policy.
func (o *Options) takeForeign(req *build.Request) error {
	if err := o.readSourcePolicy(req); err != nil || o.foreign == nil { // nil: another command than build
		return err
	}
	notes, err := o.foreign.Take()
	if err != nil {
		return command.Usage(err)
	}
	o.Notes = append(o.Notes, notes...)
	return nil
}

// speak sets the flags that weren't given to what they are in the dialect.
func (o *Options) speak(f *pflag.FlagSet) {
	switch {
	case o.speaks == dialect.Docker && len(o.files) > 1:
		o.Notes = append(o.Notes, "of several -f the last counts, as with docker")
		o.files = o.files[len(o.files)-1:]
	case o.speaks.Containers():
		if !f.Changed("http-proxy") {
			o.Run.HTTPProxy = true
		}
		o.image.Speak(o.speaks, f)
		o.files = splitFiles(o.files)
	}
}

// splitFiles takes FILE,FILE apart, unless there is a file of that name.
func splitFiles(given []string) (files []string) {
	for _, text := range given {
		if _, err := os.Lstat(text); err == nil || remote.IsHTTP(text) {
			files = append(files, text)
			continue
		}
		files = append(files, strings.Split(text, ",")...)
	}
	return files
}

// checkContextArg refuses arguments that can't be the context. Docker's users must name it.
func checkContextArg(d dialect.Dialect, args []string) error {
	switch {
	case len(args) > 1, len(args) == 0 && d == dialect.Docker:
		return command.Usagef(
			"build takes one argument, the context, got %d\nhint: cooper build -t NAME . builds from the current directory",
			len(args))
	case len(args) == 1 && args[0] == "":
		return command.Usagef("the context is an empty word\nhint: . is the current directory")
	}
	return nil
}

// contextOf is the context that was named, or else the directory of the first Dockerfile that is a file of this
// machine, or else the current directory.
func (o *Options) contextOf(args []string) string {
	if len(args) > 0 && o.speaks.Containers() && len(o.files) == 0 && isText(args[0]) {
		o.files = []string{args[0]} // podman and buildah take it for the Dockerfile
		return filepath.Dir(args[0])
	}
	if len(args) > 0 {
		return args[0]
	}
	local := func(name string) bool { return name != build.Stdin && !remote.IsHTTP(name) }
	if n := slices.IndexFunc(o.files, local); n >= 0 {
		return filepath.Dir(o.files[n])
	}
	return "."
}

// isText tells whether a name is that of a file that begins with text.
func isText(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 512)
	n, err := f.Read(head) // a directory can't be read
	return err == nil && bytes.IndexByte(head[:n], 0) < 0 && utf8.Valid(bytes.TrimRightFunc(head[:n], isPartial))
}

// isPartial tells whether a rune may be one that was cut off.
func isPartial(r rune) bool { return r == utf8.RuneError }

// choosePull makes all spellings of --pull one of the four policies.
func (o *Options) choosePull() error {
	switch {
	case o.pullAlways && o.pullNever:
		return command.Usagef("--pull-always and --pull-never contradict each other: give one of them")
	case o.pullAlways:
		o.pull = string(build.PullAlways)
	case o.pullNever:
		o.pull = string(build.PullNever)
	}
	switch strings.ToLower(o.pull) {
	case "true", string(build.PullAlways):
		o.pull = string(build.PullAlways)
	case "false":
		o.pull = string(build.PullMissing)
		if o.speaks.Containers() {
			o.pull = string(build.PullNever)
		}
	case string(build.PullMissing), "ifmissing", "notpresent":
		o.pull = string(build.PullMissing)
	case string(build.PullNewer), "ifnewer":
		o.pull = string(build.PullNewer)
	case string(build.PullNever):
		o.pull = string(build.PullNever)
	default:
		return command.Usagef("--pull=%s: must be always, missing, newer or never", o.pull)
	}
	return nil
}

// splitTags gives the request the names of --tag, and o the places.
func (o *Options) splitTags(req *build.Request) (err error) {
	if req.Tags, o.places, err = buildflags.SplitPlaces(o.speaks, o.tags); err != nil {
		return err
	}
	for _, name := range req.Tags {
		if err := build.CheckName(name); err != nil {
			return command.Usage(err)
		}
	}
	return nil
}

// Loads tells whether the image goes to docker's engine, if there is one: it is asked for, or docker's user has named
// no other place.
func (o *Options) Loads() bool {
	nowhere := o.speaks == dialect.Docker && len(o.outputs) == 0 && !o.push
	for _, text := range o.outputs {
		if s, err := export.ParseSpec(text); err == nil && s.Load {
			return true
		}
	}
	return o.load || nowhere
}
