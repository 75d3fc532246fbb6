package bases

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// Common are the platforms that all images are there for which the target of a file is made of, but for those that the
// file binds to a platform.
func (r *Resolver) Common(ctx context.Context, f *dockerfile.File, o plan.Options) (common []ocispec.Platform,
	err error) {
	refs, err := freeBases(ctx, f, o)
	if err != nil {
		return nil, err
	}
	known := false
	for _, ref := range refs {
		all, err := r.Platforms(ctx, ref)
		if err != nil {
			return nil, err
		}
		if all == nil {
			continue
		}
		if known {
			all = slices.DeleteFunc(common, func(p ocispec.Platform) bool {
				return !slices.ContainsFunc(all, func(q ocispec.Platform) bool {
					return platforms.FormatAll(p) == platforms.FormatAll(q)
				})
			})
		}
		common, known = all, true
	}
	switch {
	case !known:
		return nil, errors.New("the image is built on no other that would say for which platforms\n" +
			"hint: --platform names them")
	case len(common) == 0:
		return nil, fmt.Errorf("there is no platform for which all of %s have an image", strings.Join(refs, ", "))
	}
	return common, nil
}

// freeBases are the references of the images that the target takes for the platform that is built for, whatever that
// is.
func freeBases(ctx context.Context, f *dockerfile.File, o plan.Options) ([]string, error) {
	var found [2]listing
	for i, name := range []string{"linux/amd64", "linux/s390x"} {
		found[i].platform = platforms.MustParse(name)
		o.Platform, o.Resolver, o.Warn = found[i].platform, &found[i], nil
		if _, err := plan.Make(ctx, f, o); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(found[0].refs, func(ref string) bool { return !slices.Contains(found[1].refs, ref) }), nil
}

// listing is a resolver that notes which images a plan asks for on behalf of a platform.
type listing struct {
	platform ocispec.Platform
	refs     []string
}

var _ plan.Resolver = (*listing)(nil)

// Resolve gives an empty image.
func (l *listing) Resolve(_ context.Context, ref string, want plan.Wanted) (imagebuilder.Base, error) {
	if platforms.FormatAll(want.Platform) == platforms.FormatAll(l.platform) && !slices.Contains(l.refs, ref) {
		l.refs = append(l.refs, ref)
	}
	return imagebuilder.Base{Image: imagebuilder.Image{Platform: want.Platform}}, nil
}
