package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// ParsePlatform reads OS[/ARCH[/VARIANT]] or ARCH alone; parts that are left out are those of machine. The result is
// normalised as containerd's platforms package does it: x86_64 is amd64, arm64/v8 is arm64, arm alone is arm/v7.
func ParsePlatform(text string, machine ocispec.Platform) (ocispec.Platform, error) {
	whole := text
	if !strings.Contains(text, "/") {
		name, _, _ := strings.Cut(strings.ToLower(text), "(")
		switch {
		case isOS(name):
			whole = strings.Join(append([]string{text}, notEmpty(machine.Architecture, machine.Variant)...), "/")
		case isArchitecture(name):
			whole = machine.OS + "/" + text
		default:
			return ocispec.Platform{}, fmt.Errorf("%q is neither an operating system nor an architecture", text)
		}
	}
	p, err := platforms.Parse(whole)
	switch {
	case err != nil:
		return ocispec.Platform{}, fmt.Errorf("%q is not a platform", text)
	case isArchitecture(p.OS):
		return ocispec.Platform{}, fmt.Errorf("%q is not a platform: did you mean %s/%s?", text, machine.OS, text)
	}
	return platforms.Normalize(p), nil
}

func notEmpty(words ...string) []string {
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

func isOS(name string) bool {
	return slices.Contains([]string{
		"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "macos", "netbsd", "openbsd",
		"plan9", "solaris", "wasip1", "windows",
	}, name)
}

func isArchitecture(name string) bool {
	return slices.Contains([]string{
		"386", "aarch64", "amd64", "arm", "arm64", "armel", "armhf", "i386", "loong64", "mips", "mips64", "mips64le",
		"mipsle", "ppc64",
		"ppc64le", "riscv64", "s390x", "wasm", "x86-64", "x86_64",
	}, name)
}

func formatPlatform(p ocispec.Platform) string { return platforms.FormatAll(p) }

// madeFor gives the platform of the programs in a stage: that of its base image, or else the one that was asked for.
func (st *stage) madeFor() ocispec.Platform {
	if p := st.image.Platform; p.OS != "" && p.Architecture != "" {
		return platforms.Normalize(p)
	}
	return st.platform
}

const windows = "windows"

// aim says which platforms a plan is for. It doesn't change.
type aim struct {
	file *dockerfile.File
	// build is the platform of this machine, image that of the image, both normalized.
	build, image ocispec.Platform
	// explicit tells that Options.Platform was set, so that the image gets that platform whatever its base is for.
	explicit bool
	// checking tells that the plan won't be built: images may be missing, and platforms ones that can't run here.
	checking bool
}

func newAim(f *dockerfile.File, o Options, checking bool) aim {
	a := aim{file: f, build: platforms.Normalize(o.BuildPlatform), explicit: o.Platform.OS != "", checking: checking}
	a.image = a.build
	if a.explicit {
		a.image = platforms.Normalize(o.Platform)
	}

	return a
}

// checkStage refuses a stage for a platform whose layers can't be made here or used there.
func (a aim) checkStage(st *stage) error {
	return a.refuseWindows(st, st.madeFor())
}

// refuseWindows refuses a stage for Windows.
func (a aim) refuseWindows(st *stage, platform ocispec.Platform) error {
	if a.checking || platform.OS != windows {
		return nil
	}
	return a.file.NewError(st.loc, "cooper does not support images for Windows: their layers are of another kind",
		"other operating systems can be built for as long as no RUN is needed")
}

// checkExecutable refuses a RUN for an operating system other than Linux.
func (a aim) checkExecutable(platform ocispec.Platform) error {
	if a.checking || platform.OS == a.build.OS {
		return nil
	}
	return &hinted{
		fmt.Sprintf("RUN can't execute %s programs on %s", formatPlatform(platform), formatPlatform(a.build)),
		"do the work in a stage FROM --platform=$BUILDPLATFORM and take its files with COPY --from",
	}
}

// finished gives the finished image the platform that was asked for, whatever its base is for. If none was asked
// for, the image keeps the platform of its base.
func (a aim) finished(image imagebuilder.Image) imagebuilder.Image {
	have, want := image.Platform, a.image
	if a.explicit {
		if same := have.OS == want.OS && have.Architecture == want.Architecture; !same {
			have = ocispec.Platform{}
		}
		have.OS, have.Architecture = want.OS, want.Architecture
		if want.Variant != "" {
			have.Variant = want.Variant
		}
		if want.OSVersion != "" {
			have.OSVersion = want.OSVersion
		}
		if want.OSFeatures != nil {
			have.OSFeatures = slices.Clone(want.OSFeatures)
		}
	}
	if have.OS != "" {
		have = platforms.Normalize(have)
	}
	image.Platform = have
	return image
}
