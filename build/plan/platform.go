package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// parsePlatform reads OS[/ARCH[/VARIANT]] or ARCH alone; what is left out is the machine's.
func parsePlatform(text string, machine ocispec.Platform) (ocispec.Platform, error) {
	parts := strings.Split(strings.ToLower(text), "/")
	word := regexp.MustCompile(`^[a-z0-9_.-]+$`)
	if len(parts) > 3 || slices.ContainsFunc(parts, func(s string) bool { return !word.MatchString(s) }) {
		return ocispec.Platform{}, fmt.Errorf("%q is not a platform", text)
	}
	p := ocispec.Platform{}
	switch {
	case len(parts) == 1 && isOS(parts[0]):
		p = ocispec.Platform{OS: osName(parts[0]), Architecture: machine.Architecture, Variant: machine.Variant}
	case len(parts) == 1:
		p.OS = machine.OS
		p.Architecture, p.Variant = architecture(parts[0], "")
		if !isArchitecture(p.Architecture) {
			return p, fmt.Errorf("%q is neither an operating system nor an architecture", text)
		}
	default:
		variant := ""
		if len(parts) == 3 {
			variant = parts[2]
		}
		p.OS = osName(parts[0])
		p.Architecture, p.Variant = architecture(parts[1], variant)
	}
	return p, nil
}

func osName(name string) string {
	if name == "macos" {
		return "darwin"
	}
	return name
}

func isOS(name string) bool {
	return slices.Contains([]string{
		"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "macos", "netbsd", "openbsd",
		"plan9", "solaris", "wasip1", "windows",
	}, name)
}

func isArchitecture(name string) bool {
	return slices.Contains([]string{
		"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x",
		"wasm",
	}, name)
}

// architecture gives the OCI spelling: x86_64 is amd64, arm64/v8 is arm64, arm alone is arm/v7.
func architecture(name, variant string) (string, string) {
	switch name {
	case "i386", "i686":
		return "386", ""
	case "x86_64", "x86-64":
		name = "amd64"
	case "aarch64":
		name = "arm64"
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v6"
	}
	switch {
	case name == "amd64" && variant == "v1", name == "arm64" && (variant == "v8" || variant == "8"):
		variant = ""
	case name == "arm" && variant == "":
		variant = "v7"
	case name == "arm" && len(variant) == 1:
		variant = "v" + variant
	}
	return name, variant
}

func formatPlatform(p ocispec.Platform) string {
	return strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/")
}

// runsHere says whether this machine runs programs of a platform by itself. A variant below the machine's is fine, and a
// machine that doesn't know its variant is taken at its word.
func runsHere(p, machine ocispec.Platform) bool {
	if p.OS != machine.OS || p.Architecture != machine.Architecture {
		return false
	}
	return machine.Variant == "" || p.Variant <= machine.Variant
}

func (p *planner) checkPlatform() error {
	want, machine := p.opts.Platform, p.opts.BuildPlatform
	want.Architecture, want.Variant = architecture(want.Architecture, want.Variant)
	machine.Architecture, machine.Variant = architecture(machine.Architecture, machine.Variant)
	p.opts.Platform, p.opts.BuildPlatform = want, machine
	if p.checking || runsHere(want, machine) {
		return nil
	}
	return p.file.NewError(dockerfile.Location{File: p.file.Name},
		fmt.Sprintf("cooper does not support building for %s on %s", formatPlatform(want), formatPlatform(machine)), "leave --platform out")
}
