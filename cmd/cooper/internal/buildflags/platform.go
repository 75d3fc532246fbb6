package buildflags

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Platform are the flags that say which platforms are built for, as they are written: --platform, and its parts, which
// podman has besides it.
type Platform struct {
	// List are the values of --platform, or what stands for them.
	List []string
	// From is the variable or the flags that List comes from, empty for the flag itself.
	From string

	os, arch, variant string
	// all asks for all platforms that the base images are there for.
	all bool
}

// Register adds the flags.
func (p *Platform) Register(f *pflag.FlagSet) {
	f.StringArrayVar(&p.List, "platform", nil,
		"platforms to build for, OS/ARCH[/VARIANT][,...]; of several an index is made (default $DOCKER_DEFAULT_PLATFORM, or this machine's)")
	p.RegisterParts(f, "to build for")
	f.BoolVar(&p.all, "all-platforms", false, "build for all platforms that the base images are there for")
}

// RegisterParts adds the flags for parts of a platform; what says what is done for the platform.
func (p *Platform) RegisterParts(f *pflag.FlagSet, what string) {
	f.StringVar(&p.os, "os", "", "operating system "+what+", in place of --platform")
	f.StringVar(&p.arch, "arch", "", "architecture "+what+", in place of --platform")
	f.StringVar(&p.variant, "variant", "", "variant of the architecture "+what+", such as v7")
}

// given tells whether there are parts.
func (p *Platform) given() bool { return p.os != "" || p.arch != "" || p.variant != "" }

// Apply puts the platforms into a request.
func (p *Platform) Apply(req *build.Request) (err error) {
	if err := p.choose(); err != nil {
		return err
	}
	if req.Platforms, err = build.ParsePlatforms(p.List); err != nil {
		if p.From != "" {
			err = fmt.Errorf("%s: %w", p.From, err)
		}
		return command.Usage(err)
	}
	req.AllPlatforms = p.all
	return nil
}

// choose makes a platform of the parts; those that aren't given are the machine's.
func (p *Platform) choose() error {
	if p.all {
		if p.given() || len(p.List) > 0 && p.From == "" {
			return command.Usagef("--all-platforms and --platform, --os, --arch or --variant contradict each other: " +
				"give one or the others")
		}
		p.List, p.From = nil, ""
		return nil
	}
	if !p.given() {
		return nil
	}
	if len(p.List) > 0 && p.From == "" {
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
	p.List, p.From = []string{strings.Join(parts, "/")}, "--os, --arch and --variant"
	return nil
}
