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
	"github.com/cooperbuild/cooper/build/store/depot"
	"github.com/cooperbuild/cooper/build/store/images"
	"github.com/cooperbuild/cooper/build/store/pull"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/userns"
)

// resolver finds base images in the store and pulls what isn't there.
type resolver struct {
	depot *depot.Depot
	req   *Request
	// found is by image ID, resolved has the IDs by reference and platform: the plans for several platforms ask more than
	// once.
	found    map[string]images.Found
	resolved map[string]string
	// looks says that nothing may be built.
	looks bool
	// targets counts the builds of their own that contexts have asked for.
	targets int
}

var _ plan.Resolver = (*resolver)(nil)

// Resolve finds an image as the pull policy says.
func (r *resolver) Resolve(ctx context.Context, ref string, want plan.Wanted) (imagebuilder.Base, error) {
	key := fmt.Sprint(ref, " ", platforms.FormatAll(want.Platform), want.Asked)
	if id, ok := r.resolved[key]; ok {
		return r.found[id].Base, nil
	}
	img, err := r.find(ctx, ref, want)
	if err != nil {
		return imagebuilder.Base{}, err
	}
	if !r.looks {
		if img, err = r.rechain(ctx, img); err != nil {
			return imagebuilder.Base{}, err
		}
	}
	r.found[img.ID] = img
	r.resolved[key] = img.ID
	return img.Base, nil
}

// rechain gives a base's layers the IDs that other tools give them.
func (r *resolver) rechain(ctx context.Context, img images.Found) (images.Found, error) {
	if store.Chained(img.Layers) {
		return img, nil
	}
	r.req.Progress.Emit(progress.Note{Text: "giving the layers of " + img.Name +
		" the IDs that other tools give them, once"})
	layers, err := r.depot.Store.Rechain(ctx, img.Layers)
	if err == nil {
		// The image's own record is moved to these layers, unless a container uses it.
		err = r.depot.Images.Move(ctx, img.ID, layers[len(layers)-1].ID)
	}
	if err != nil {
		return img, fmt.Errorf("base image %s: %w", img.Name, err)
	}
	img.Layers = layers
	return img, nil
}

// find looks in the store first. An image there for another platform is the last resort, of which the plan warns, and
// none at all if the platform was asked for.
func (r *resolver) find(ctx context.Context, ref string, want plan.Wanted) (images.Found, error) {
	platform := want.Platform
	if where, ok := strings.CutPrefix(ref, plan.TargetRef); ok {
		if r.looks {
			return images.Found{}, plan.ErrUnknownImage
		}
		return r.buildTarget(ctx, where, platform)
	}
	if where, ok := strings.CutPrefix(ref, plan.LayoutRef); ok {
		return r.copyLayout(ctx, where, platform)
	}
	var other *images.Found
	if r.req.Pull != PullAlways {
		img, err := r.depot.Images.FindFor(ctx, ref, platform)
		switch {
		case err == nil && (fits(img.Image.Platform, platform) || r.req.Pull == PullNever && !want.Asked):
			return img, nil
		case err == nil && r.req.Pull == PullNever:
			return img, otherPlatform(ref, img, want, errors.New("--pull=never forbids to fetch another"))
		case err == nil:
			other = &img
		case !errors.Is(err, images.ErrNoImage):
			return img, err
		case r.req.Pull == PullNever:
			return img, fmt.Errorf("%w (and --pull=never forbids to fetch it)", err)
		}
	}
	shown := r.req.asides.Begin("pulling " + ref)
	img, err := r.depot.Pull.Pull(ctx, ref, pull.Options{
		Platform: platform, Insecure: r.req.Registry.Insecure, AuthFile: r.req.Registry.AuthFile,
		CertDir: r.req.Registry.CertDir,
		Mapping: r.req.Identity.Process, Progress: shown.Transfer,
	})
	if err != nil && other != nil && ctx.Err() == nil {
		if want.Asked {
			shown.End(ctx, err)
			return img, otherPlatform(ref, *other, want, err)
		}
		shown.GiveUp()
		r.req.Progress.Emit(progress.Note{Text: fmt.Sprintf("using the image in the store, which is for %s: %v",
			platforms.Format(other.Image.Platform), err)})
		return *other, nil
	}
	shown.End(ctx, err)
	return img, r.explain(ctx, err)
}

// otherPlatform says why an image of the store was not used, and why there is no other.
func otherPlatform(ref string, img images.Found, want plan.Wanted, err error) error {
	have := platforms.FormatAll(platforms.Normalize(img.Image.Platform))
	return fmt.Errorf("image %s in the store is for %s, not for %s, and there is no other: %w\nhint: build %[1]s with --platform=%[3]s, or write "+
		"FROM --platform=%[2]s if only its files are of interest", ref, have, platforms.FormatAll(want.Platform), err)
}

func (r *resolver) rangeError(ctx context.Context, m *pull.MissingIDs) error {
	id := r.req.Identity
	need := userns.IDs{UIDs: m.UIDs, GIDs: m.GIDs}
	return fmt.Errorf("%w\n%w", m, userns.Finder{}.Check(ctx, id.Owner, *id.Process, need))
}

// fits tells whether an image made for one platform can be used for another: the same, or an earlier variant of it.
// Images without a platform fit any.
func fits(have, want ocispec.Platform) bool {
	if have.OS == "" || have.Architecture == "" {
		return true
	}
	have = platforms.Normalize(have)
	return have.Architecture == want.Architecture && platforms.Only(want).Match(have)
}
