package plan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// RuleUnusedBuildArg is the rule of the warning about a --build-arg that no ARG declares. The linter has no such rule,
// since the warning is about the command line and not about the file.
const RuleUnusedBuildArg = "UnusedBuildArg"

const (
	// sourceDateArg is the argument that gives the time, in seconds since 1970, of all files and configs that a build
	// makes.
	sourceDateArg = "SOURCE_DATE_EPOCH"
	// cacheNamespaceArg is the argument that is put before the ID of each cache mount, so that builds with different
	// values share no cache mounts.
	cacheNamespaceArg = "BUILDKIT_CACHE_MOUNT_NS"
)

// arguments are the build arguments: those of the command line, and those that exist before the first FROM.
type arguments struct {
	text
	aim    aim
	budget *budget
	// target and all are Options.Target and Options.BuildArgs.
	target string
	all    map[string]*string
	// global are the platform arguments and the arguments before the first FROM; metaArgs are the names of the latter.
	// read sets both.
	global   *variables
	metaArgs []string
	// declared are the names of all ARG instructions. Whoever reads one adds to it.
	declared map[string]bool
}

func newArguments(t text, a aim, b *budget, o Options) *arguments {
	return &arguments{text: t, aim: a, budget: b, target: o.Target, all: o.BuildArgs, declared: map[string]bool{}}
}

// given gives the value of a --build-arg; ok is false if it wasn't given or has no value.
func (a *arguments) given(name string) (string, bool) {
	if value := a.all[name]; value != nil {
		return *value, true
	}
	return "", false
}

// platformArgs gives the arguments that exist in FROM without being declared, such as TARGETARCH. A stage has to
// declare those that it uses.
func (a *arguments) platformArgs() *variables {
	target := a.target
	if target == "" {
		target = a.file.Stages[len(a.file.Stages)-1].Name
	}
	if target == "" {
		target = "default"
	}

	build, image := a.aim.build, a.aim.image
	v := newVariables(nil)
	for _, kv := range [][2]string{
		{"BUILDPLATFORM", formatPlatform(build)},
		{"BUILDOS", build.OS},
		{"BUILDOSVERSION", build.OSVersion},
		{"BUILDARCH", build.Architecture},
		{"BUILDVARIANT", build.Variant},
		{"TARGETPLATFORM", formatPlatform(image)},
		{"TARGETOS", image.OS},
		{"TARGETOSVERSION", image.OSVersion},
		{"TARGETARCH", image.Architecture},
		{"TARGETVARIANT", image.Variant},
		{"TARGETSTAGE", target},
	} {
		value := kv[1]
		if given, ok := a.given(kv[0]); ok {
			value = given
		}
		a.declared[kv[0]] = true
		v.set(kv[0], value)
	}

	return v
}

// cacheNamespace gives the text to put before the ID of each cache mount: see cacheNamespaceArg.
func (a *arguments) cacheNamespace() string {
	name, _ := a.given(cacheNamespaceArg)
	return name
}

// sourceDate gives the value of --build-arg SOURCE_DATE_EPOCH, or of a global ARG of that name; "" without either. An
// ARG inside a stage doesn't count.
func (a *arguments) sourceDate() string {
	if given, ok := a.given(sourceDateArg); ok {
		return given
	}
	value, _ := a.global.Get(sourceDateArg)
	return value
}

// ContextDate is the value of SOURCE_DATE_EPOCH that stands for the date of the main context.
const ContextDate = "context"

// dateGiven puts the date of the main context, which find gives, in the place of a --build-arg that is ContextDate. A
// context without a date leaves the argument out.
func (a *arguments) dateGiven(ctx context.Context, find func(ctx context.Context) (string, error)) error {
	if given, _ := a.given(sourceDateArg); find == nil || given != ContextDate {
		return nil
	}
	date, err := find(ctx)
	if err != nil {
		return err
	}
	a.all = maps.Clone(a.all)
	if a.all[sourceDateArg] = &date; date == "" {
		delete(a.all, sourceDateArg)
	}
	return nil
}

// dateDefault does the same with the default of the ARG before the first FROM.
func (a *arguments) dateDefault(ctx context.Context, find func(ctx context.Context) (string, error)) error {
	if value, _ := a.global.Get(sourceDateArg); find == nil || value != ContextDate {
		return nil
	}
	date, err := find(ctx)
	if err != nil {
		return err
	}
	a.global.set(sourceDateArg, date)
	return nil
}

// read evaluates the ARG instructions before the first FROM.
func (a *arguments) read() error {
	a.global = a.platformArgs()
	defaults := a.global.clone()
	for _, cmd := range a.file.MetaArgs {
		loc := a.file.Location(cmd.Location())
		for _, arg := range cmd.Args {
			a.declared[arg.Key] = true
			a.metaArgs = append(a.metaArgs, arg.Key)
			a.setDefault(defaults, arg.Key, arg.Value)
			if given, ok := a.given(arg.Key); ok {
				a.global.set(arg.Key, given)
				continue
			}
			if arg.Value == nil {
				continue
			}
			value, err := run(a.expand.word, *arg.Value, a.global)
			if err != nil {
				return a.file.NewError(loc, fmt.Sprintf("cannot expand the default of ARG %s: %v", arg.Key, err), "")
			}
			a.global.set(arg.Key, value.text)
			if err := a.budget.hold(2 * len(value.text)); err != nil { // twice: the value is in defaults, too
				return a.file.NewError(loc, err.Error(), "")
			}
		}
	}

	a.lintDefaultBases(defaults)
	return nil
}

// setDefault sets a global argument to the value that it has without any --build-arg. It drops errors: read
// reports those of the values that the build has.
func (a *arguments) setDefault(defaults *variables, name string, value *string) {
	if value == nil {
		return
	}
	if expanded, err := run(a.expand.word, *value, defaults); err == nil {
		defaults.set(name, expanded.text)
	}
}

// warnUnused reports the --build-args that no ARG of the file asks for.
func (a *arguments) warnUnused() {
	known := slices.Sorted(maps.Keys(a.declared))
	var unused, meant []string
	for _, name := range slices.Sorted(maps.Keys(a.all)) {
		predefined := slices.Contains(ProxyNames(), name) || name == sourceDateArg || strings.HasPrefix(name, "BUILDKIT_")
		if a.declared[name] || predefined {
			continue
		}
		unused = append(unused, name)
		if near := dockerfile.Nearest(name, known); near != "" {
			meant = append(meant, near)
		}
	}
	if len(unused) == 0 {
		return
	}
	message := fmt.Sprintf("One or more build-args %v were not consumed", unused)
	if len(meant) > 0 {
		message += fmt.Sprintf(" (did you mean %s?)", strings.Join(meant, ", "))
	}
	a.warn(dockerfile.Warning{
		Location: dockerfile.Location{File: a.file.Name}, Rule: RuleUnusedBuildArg, Message: message,
	})
}

// lintDefaultBases reports each FROM whose expansion is no image name if no build argument is given; defaults are the
// global arguments in that case.
func (a *arguments) lintDefaultBases(defaults *variables) {
	for _, st := range a.file.Stages {
		base, err := run(a.expand.word, st.BaseName, defaults)
		if err != nil {
			return
		}
		if _, err := reference.Parse(base.text); err != nil {
			rule := &linter.RuleInvalidDefaultArgInFrom
			a.lint.Run(rule, st.Location, rule.Format(st.BaseName))
		}
	}
}

// ProxyNames gives the names of the proxy arguments that RUN steps get without a declaration, in upper and lower case.
// Their values may hold passwords.
func ProxyNames() []string {
	return []string{
		"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy",
		"ALL_PROXY", "all_proxy",
	}
}
