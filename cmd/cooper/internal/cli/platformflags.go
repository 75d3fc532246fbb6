package cli

import (
	"cmp"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// platformFlags are the parts of a platform as they are written, which podman has besides --platform.
type platformFlags struct {
	os, arch, variant string
	// all asks for all platforms that the base images are there for.
	all bool
}

func (p *platformFlags) register(f *pflag.FlagSet) {
	f.StringVar(&p.os, "os", "", "operating system to build for, in place of --platform")
	f.StringVar(&p.arch, "arch", "", "architecture to build for, in place of --platform")
	f.BoolVar(&p.all, "all-platforms", false, "build for all platforms that the base images are there for")
	f.StringVar(&p.variant, "variant", "", "variant of the architecture to build for, such as v7")
}

// given tells whether there are parts.
func (p *platformFlags) given() bool { return p.os != "" || p.arch != "" || p.variant != "" }

// apply makes a platform of the parts; those that aren't given are the machine's.
func (p *platformFlags) apply(o *buildOptions) error {
	if p.all {
		if p.given() || len(o.platforms) > 0 && o.platformFrom == "" {
			return command.Usagef("--all-platforms and --platform, --os, --arch or --variant contradict each other: " +
				"give one or the others")
		}
		o.platforms, o.platformFrom = nil, ""
		return nil
	}
	if !p.given() {
		return nil
	}
	if len(o.platforms) > 0 && o.platformFrom == "" {
		return command.Usagef("--platform and --os, --arch or --variant contradict each other: give one or the others")
	}
	parts := []string{cmp.Or(p.os, "linux"), cmp.Or(p.arch, runtime.GOARCH)}
	if p.variant != "" {
		parts = append(parts, p.variant)
	}
	for _, part := range parts {
		if strings.ContainsAny(part, "/,") {
			return command.Usagef("%q: must be one part of a platform\nhint: --platform takes OS/ARCH", part)
		}
	}
	o.platforms, o.platformFrom = []string{strings.Join(parts, "/")}, "--os, --arch and --variant"
	return nil
}
