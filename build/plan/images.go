package plan

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// imageSet has the images that the plan is made from.
type imageSet struct {
	// resolver may be nil, as Options.Resolver.
	resolver Resolver
	// sources is Options.Sources.
	sources Sources
	// checking tells that images which the resolver doesn't have count as empty ones.
	checking bool
	// found are the images that the resolver found, by imageKey.
	found map[string]imagebuilder.Base
	// strict has the keys in found of those whose platform was asked for (Wanted.Asked).
	strict map[string]bool
	// unknown has the references of the images that the resolver doesn't have, by imageKey.
	unknown map[string]string
}

func newImageSet(o Options, checking bool) *imageSet {
	return &imageSet{
		resolver: o.Resolver, sources: o.Sources, checking: checking,
		found: map[string]imagebuilder.Base{}, strict: map[string]bool{}, unknown: map[string]string{},
	}
}

func imageKey(ref string, platform ocispec.Platform) string {
	return ref + " " + formatPlatform(platform)
}

// find asks the resolver once for each image.
func (s *imageSet) find(ctx context.Context, ref string, want Wanted) (imagebuilder.Base, error) {
	key := imageKey(ref, want.Platform)
	if base, ok := s.found[key]; ok && (s.strict[key] || !want.Asked) {
		return base, nil
	}
	if s.resolver == nil {
		return imagebuilder.Base{}, errors.New("there is nothing to look images up in")
	}
	if err := context.Cause(ctx); err != nil {
		return imagebuilder.Base{}, err
	}
	source, err := sourceOf(s.sources, ref)
	if err != nil {
		return imagebuilder.Base{}, err
	}
	base, err := s.resolver.Resolve(ctx, source, want)
	if s.checking && errors.Is(err, ErrUnknownImage) {
		s.unknown[key], err = ref, nil
	}
	if err != nil {
		return base, err
	}
	s.found[key], s.strict[key] = base, want.Asked
	return base, nil
}
