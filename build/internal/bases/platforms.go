package bases

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// Platforms are those of Linux that there are images for under a reference: in the store's index, or else in the
// registry, as the pull policy allows. What is built itself has none, for it can be built for any.
func (r *Resolver) Platforms(ctx context.Context, ref string) ([]ocispec.Platform, error) {
	if strings.HasPrefix(ref, plan.TargetRef) {
		return nil, nil
	}
	if where, ok := strings.CutPrefix(ref, plan.LayoutRef); ok {
		return platformsOfLayout(ctx, where)
	}
	asks := r.Pull == PullAlways || r.Pull == PullNewer
	list, err := r.Images.OpenList(ref)
	switch {
	case err == nil && !asks:
		return usable(entryPlatforms(list.Index.Manifests)), nil
	case errors.Is(err, images.ErrNoImage) && r.Pull == PullNever:
		return nil, fmt.Errorf("%w (and --pull=never forbids to fetch it)", err)
	case errors.Is(err, images.ErrNoImage):
		return r.offered(ctx, ref, r.Registry.Retries)
	case err == nil || errors.Is(err, images.ErrNoList):
	default:
		return nil, err
	}
	img, err := r.Images.FindFor(ctx, ref, platforms.DefaultSpec())
	if r.Pull == PullNever || err == nil && strings.HasPrefix(img.Name, "localhost/") { // which no registry has
		return usable([]ocispec.Platform{img.Image.Platform}), err
	}
	all, failed := r.offered(ctx, ref, registry.Retries{}) // the image in the store will do
	if failed == nil || err != nil || ctx.Err() != nil {
		return all, failed
	}
	r.Progress.Emit(progress.Note{Text: fmt.Sprintf("using the image %s in the store: %v", ref, failed)})
	return usable([]ocispec.Platform{img.Image.Platform}), nil
}

// offered are the platforms that a registry has images for.
func (r *Resolver) offered(ctx context.Context, ref string, retries registry.Retries) ([]ocispec.Platform, error) {
	shown := r.Asides.Begin("looking for the platforms of " + ref)
	o := r.options(plan.Wanted{}, shown)
	o.Retries = retries
	found, err := r.Transfer.Look(ctx, ref, o)
	shown.End(ctx, err)
	return usable(found.Platforms), err
}

func platformsOfLayout(ctx context.Context, where string) (all []ocispec.Platform, err error) {
	name, err := content.ParseLayoutName(where)
	if err != nil {
		return nil, err
	}
	layout, err := content.OpenLayout(name.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, layout.Close()) }()
	root, err := layout.Resolve(name.Tag, name.Digest)
	if err != nil {
		return nil, err
	}
	_, entries, err := content.ReadRoot(ctx, layout, root)
	if err != nil {
		return nil, err
	}
	if entries == nil {
		image, err := content.ReadImage(ctx, layout, root, ocispec.Platform{})
		if err != nil {
			return nil, err
		}
		return usable([]ocispec.Platform{image.Platform}), nil
	}
	return usable(entryPlatforms(entries)), nil
}

func entryPlatforms(entries []ocispec.Descriptor) (all []ocispec.Platform) {
	for _, d := range entries {
		if d.Platform != nil && (d.MediaType == "" || content.IsManifest(d.MediaType)) {
			all = append(all, *d.Platform)
		}
	}
	return all
}

// usable are those platforms that can be built for, each once.
func usable(all []ocispec.Platform) (some []ocispec.Platform) {
	seen := map[string]bool{}
	for _, p := range all {
		p = platforms.Normalize(p)
		if name := platforms.FormatAll(p); p.OS == "linux" && !seen[name] {
			seen[name] = true
			some = append(some, p)
		}
	}
	return some
}
