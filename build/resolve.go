package build

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/userns"
)

// resolver finds base images in the store and pulls what isn't there.
type resolver struct {
	store *store.Store
	req   *Request
	// found is by image ID, resolved has the IDs by reference and platform: the plans for several platforms ask more than once.
	found    map[string]store.FoundImage
	resolved map[string]string
	// looks says that nothing may be built.
	looks bool
	// targets counts the builds of their own that contexts have asked for.
	targets int
}

var _ plan.Resolver = (*resolver)(nil)

// Resolve finds an image as the pull policy says.
func (r *resolver) Resolve(ctx context.Context, ref string, platform ocispec.Platform) (imagebuilder.Base, error) {
	key := ref + " " + platforms.FormatAll(platform)
	if id, ok := r.resolved[key]; ok {
		return r.found[id].Base, nil
	}
	img, err := r.find(ctx, ref, platform)
	if err != nil {
		return imagebuilder.Base{}, err
	}
	r.found[img.ID] = img
	r.resolved[key] = img.ID
	return img.Base, nil
}

// find looks in the store first. An image there for another platform is the last resort; the plan warns about it.
func (r *resolver) find(ctx context.Context, ref string, platform ocispec.Platform) (store.FoundImage, error) {
	if where, ok := strings.CutPrefix(ref, plan.TargetRef); ok {
		if r.looks {
			return store.FoundImage{}, plan.ErrUnknownImage
		}
		return r.buildTarget(ctx, where, platform)
	}
	if where, ok := strings.CutPrefix(ref, plan.LayoutRef); ok {
		return r.copyLayout(ctx, where, platform)
	}
	var other *store.FoundImage
	if r.req.Pull != PullAlways {
		img, err := r.store.FindImageFor(ref, platform)
		switch {
		case err == nil && (fits(img.Image.Platform, platform) || r.req.Pull == PullNever):
			return img, nil
		case err == nil:
			other = &img
		case !errors.Is(err, store.ErrNoImage):
			return img, err
		case r.req.Pull == PullNever:
			return img, fmt.Errorf("%w (and --pull=never forbids to fetch it)", err)
		}
	}
	r.req.Progress.Emit(progress.Note{Text: "pulling " + ref})
	img, err := r.store.Pull(ctx, ref, store.PullOptions{
		Platform: platform, Insecure: r.req.Registry.Insecure, AuthFile: r.req.Registry.AuthFile, CertDir: r.req.Registry.CertDir,
		Mapping: r.req.Identity.Process, Progress: r.transfer,
	})
	if err != nil && other != nil && ctx.Err() == nil {
		r.req.Progress.Emit(progress.Note{Text: fmt.Sprintf("using the image in the store, which is for %s: %v",
			platforms.Format(other.Image.Platform), err)})
		return *other, nil
	}
	return img, r.explain(ctx, err)
}

func (r *resolver) rangeError(ctx context.Context, m *store.MissingIDs) error {
	id := r.req.Identity
	need := userns.IDs{UIDs: m.UIDs, GIDs: m.GIDs}
	return fmt.Errorf("%w\n%w", m, userns.Finder{}.Check(ctx, id.Owner, *id.Process, need))
}

// fits tells whether an image made for one platform can be used for another: the same, or an earlier variant of it. Images without
// a platform fit any.
func fits(have, want ocispec.Platform) bool {
	if have.OS == "" || have.Architecture == "" {
		return true
	}
	have = platforms.Normalize(have)
	return have.Architecture == want.Architecture && platforms.Only(want).Match(have)
}
