package content

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/internal/printable"
)

// Choose takes the manifest of an index that suits a platform best: the same variant, else the highest below it, else
// one that names none. Manifests without a platform count only if there is nothing else.
func Choose(all []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	best, bestRank := -1, -1
	var have []string
	for i, d := range all {
		if d.Platform == nil {
			if len(all) == 1 {
				return d, nil
			}
			continue
		}
		have = append(have, formatPlatform(*d.Platform))
		if r := rank(*d.Platform, want); r > bestRank {
			best, bestRank = i, r
		}
	}
	if best >= 0 {
		return all[best], nil
	}
	const most = 12
	have = slices.DeleteFunc(have, func(p string) bool { return p == "unknown/unknown" })
	if len(have) > most {
		have = append(have[:most], "...")
	}
	return ocispec.Descriptor{}, fmt.Errorf("there is no image for %s: there are %s", formatPlatform(want),
		printable.Clip(strings.Join(have, ", ")))
}

// rank tells how well an image of one platform runs on another; negative: not at all.
func rank(have, want ocispec.Platform) int {
	if want.OS == "" {
		return 0
	}
	haveArch, haveVariant := normal(have)
	wantArch, wantVariant := normal(want)
	if have.OS != want.OS || haveArch != wantArch {
		return -1
	}
	const exact = 1000
	switch {
	case haveVariant == wantVariant:
		return exact
	case haveVariant == "":
		return 0
	case wantVariant == "":
		// The capabilities of the machine are unknown: the lowest variant is the safest.
		return exact - 1 - level(haveVariant)
	case level(haveVariant) < level(wantVariant):
		return 1 + level(haveVariant)
	}
	return -1
}

// normal gives the architecture and variant of a platform in one spelling, so that platforms can be compared.
func normal(p ocispec.Platform) (arch, variant string) {
	arch, variant = p.Architecture, p.Variant
	switch arch {
	case "x86_64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	}
	switch {
	case arch == "arm64" && (variant == "v8" || variant == "8"), arch == "amd64" && variant == "v1":
		variant = ""
	case arch == "arm" && variant == "":
		variant = "v7"
	}
	return arch, variant
}

// level is the number in a variant such as v7, or 0.
func level(variant string) int {
	n := 0
	if _, err := fmt.Sscanf(variant, "v%d", &n); err != nil || n < 0 || n > 99 {
		return 0
	}
	return n
}

func formatPlatform(p ocispec.Platform) string {
	return strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/")
}
