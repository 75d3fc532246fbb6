package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/buildx/bake"
	"github.com/docker/buildx/build"
	"github.com/docker/buildx/util/buildflags"

	"github.com/cooperbuild/cooper/internal/bakefile"
)

// linkPrefix begins the value of a named context that is another target.
const linkPrefix = "target:"

// all gives the targets by name, as flags of a build.
func all(targets map[string]*bake.Target, builds map[string]build.Options) (list []bakefile.Target, err error) {
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		t, b := targets[name], builds[name]
		if len(t.Policy) > 0 && !slices.ContainsFunc(b.Policy, func(p buildflags.PolicyConfig) bool { return p.Disabled }) {
			return nil, fmt.Errorf("target %s: there is no policy= here\nhint: a source policy is given by "+
				"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY or --source-policy-file", name)
		}
		shown := bakefile.Target{
			Name: name, Description: t.Description, Linked: b.Linked, Context: b.Inputs.ContextPath,
			Flags: flags(t, b), Links: map[string]string{}, Inline: t.DockerfileInline,
		}
		for key, c := range b.Inputs.NamedContexts {
			if other, ok := strings.CutPrefix(c.Path, linkPrefix); ok {
				shown.Links[key] = other
			}
		}
		if t.Call != nil {
			shown.Call = *t.Call
		}
		list = append(list, shown)
	}
	return list, nil
}

// flags are a target as flags of docker buildx build, in an order that is always the same.
func flags(t *bake.Target, b build.Options) []string {
	var f list
	if t.DockerfileInline == nil {
		f.add("file", b.Inputs.DockerfilePath)
	}
	for _, key := range slices.Sorted(maps.Keys(b.Inputs.NamedContexts)) {
		if path := b.Inputs.NamedContexts[key].Path; !strings.HasPrefix(path, linkPrefix) {
			f.add("build-context", key+"="+path)
		}
	}
	f.add("target", b.Target)
	f.pairs("build-arg", b.BuildArgs)
	f.pairs("label", b.Labels)
	f.add("annotation", t.Annotations...)
	f.add("tag", b.Tags...)
	f.add("platform", strings.Join(t.Platforms, ","))
	f.add("no-cache-filter", b.NoCacheFilter...)
	f.add("add-host", b.ExtraHosts...)
	f.add("network", b.NetworkMode)
	f.add("allow", b.Allow...)
	f.add("ulimit", t.Ulimits...)
	if t.ShmSize != nil {
		f.add("shm-size", *t.ShmSize)
	}
	f.add("resource", t.Resources.ToEntries()...)
	f.add("secret", texts(t.Secrets)...)
	f.add("ssh", texts(t.SSH)...)
	f.add("cache-from", texts(t.CacheFrom)...)
	f.add("cache-to", texts(t.CacheTo)...)
	f.add("attest", texts(t.Attest)...)
	f.add("output", texts(t.Outputs)...)
	if b.NoCache {
		f = append(f, "--no-cache")
	}
	if b.Pull {
		f = append(f, "--pull")
	}
	return f
}

// list is a list of flags.
type list []string

// add adds a flag for each value that isn't empty.
func (l *list) add(name string, values ...string) {
	for _, v := range values {
		if v != "" {
			*l = append(*l, "--"+name+"="+v)
		}
	}
}

// pairs adds a flag KEY=VALUE for each entry of a map.
func (l *list) pairs(name string, m map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		l.add(name, key+"="+m[key])
	}
}

// texts are what values are on a command line.
func texts[T fmt.Stringer](values []T) (all []string) {
	for _, v := range values {
		all = append(all, v.String())
	}
	return all
}
