package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
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

// buildArg gives the value of a --build-arg; ok is false if it wasn't given or has no value.
func (p *planner) buildArg(name string) (string, bool) {
	if value := p.opts.BuildArgs[name]; value != nil {
		return *value, true
	}
	return "", false
}

// platformArgs gives the arguments that exist in FROM without being declared, such as TARGETARCH. A stage has to
// declare those that it uses.
func (p *planner) platformArgs() *variables {
	target := p.opts.Target
	if target == "" {
		target = p.file.Stages[len(p.file.Stages)-1].Name
	}
	if target == "" {
		target = "default"
	}

	build, image := p.opts.BuildPlatform, p.opts.Platform
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
		if given, ok := p.buildArg(kv[0]); ok {
			value = given
		}
		p.declared[kv[0]] = true
		v.set(kv[0], value)
	}

	return v
}

// cacheNamespace gives the text to put before the ID of each cache mount: see cacheNamespaceArg.
func (p *planner) cacheNamespace() string {
	name, _ := p.buildArg(cacheNamespaceArg)
	return name
}

// sourceDate gives the value of --build-arg SOURCE_DATE_EPOCH, or of a global ARG of that name; "" without either. An
// ARG inside a stage doesn't count.
func (p *planner) sourceDate() string {
	if given, ok := p.buildArg(sourceDateArg); ok {
		return given
	}
	value, _ := p.global.Get(sourceDateArg)
	return value
}

// readMetaArgs evaluates the ARG instructions before the first FROM.
func (p *planner) readMetaArgs() error {
	p.global = p.platformArgs()
	defaults := p.global.clone()
	for _, cmd := range p.file.MetaArgs {
		loc := p.file.Location(cmd.Location())
		for _, arg := range cmd.Args {
			p.declared[arg.Key] = true
			p.metaArgs = append(p.metaArgs, arg.Key)
			p.setDefault(defaults, arg.Key, arg.Value)
			if given, ok := p.buildArg(arg.Key); ok {
				p.global.set(arg.Key, given)
				continue
			}
			if arg.Value == nil {
				continue
			}
			value, err := run(p.expand.word, *arg.Value, p.global)
			if err != nil {
				return p.file.NewError(loc, fmt.Sprintf("cannot expand the default of ARG %s: %v", arg.Key, err), "")
			}
			p.global.set(arg.Key, value.text)
			if err := p.hold(2 * len(value.text)); err != nil { // twice: the value is in defaults, too
				return p.file.NewError(loc, err.Error(), "")
			}
		}
	}

	p.lintDefaultBases(defaults)
	return nil
}

// setDefault sets a global argument to the value that it has without any --build-arg. It drops errors: readMetaArgs
// reports those of the values that the build has.
func (p *planner) setDefault(defaults *variables, name string, value *string) {
	if value == nil {
		return
	}
	if expanded, err := run(p.expand.word, *value, defaults); err == nil {
		defaults.set(name, expanded.text)
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

// proxyEnv gives the proxy variables, KEY=VALUE, that --build-arg and the environment set, each in both spellings,
// except those that the step's environment has. Those of the environment are not build arguments, so they get into no
// history and no cache key; like a build argument they win over the default of an ARG.
func (x expanding) proxyEnv() []string {
	given, outside := map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(x.opts.BuildArgs)) {
		if value, ok := x.buildArg(name); ok {
			given[strings.ToUpper(name)] = value
		}
	}

	for _, name := range slices.Sorted(maps.Keys(x.opts.Proxies)) {
		outside[strings.ToUpper(name)] = x.opts.Proxies[name]
	}
	var out []string
	for _, name := range ProxyNames() {
		value, isGiven := given[strings.ToUpper(name)]
		lookUp := x.stage.env.Get
		if !isGiven {
			value, lookUp = outside[strings.ToUpper(name)], x.stage.image.Env
		}
		if value == "" {
			continue
		}
		if _, taken := lookUp(name); !taken {
			out = append(out, name+"="+value)
		}
	}

	return out
}

// warnUnusedArgs reports the --build-args that no ARG of the file asks for.
func (p *planner) warnUnusedArgs() {
	known := slices.Sorted(maps.Keys(p.declared))
	var unused, meant []string
	for _, name := range slices.Sorted(maps.Keys(p.opts.BuildArgs)) {
		predefined := slices.Contains(ProxyNames(), name) || name == sourceDateArg || strings.HasPrefix(name, "BUILDKIT_")
		if p.declared[name] || predefined {
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
	p.graph.Warnings = append(p.graph.Warnings, dockerfile.Warning{
		Location: dockerfile.Location{File: p.file.Name}, Rule: RuleUnusedBuildArg, Message: message,
	})
}
