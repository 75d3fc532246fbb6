package build

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/store/images"
	"github.com/cooperbuild/cooper/build/store/pull"
)

// copyLayout copies the image of a context oci-layout://DIR[:TAG][@DIGEST] into the store, where it gets no name.
// Layers that are there already are not read again.
func (r *resolver) copyLayout(ctx context.Context, where string, platform ocispec.Platform) (img images.Found,
	err error) {
	name, err := registry.ParseLayoutName(where)
	if err != nil {
		return img, err
	}
	layout, err := registry.OpenLayout(name.Dir)
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(err, layout.Close()) }()
	root, err := layout.Resolve(name.Tag, name.Digest)
	if err != nil {
		return img, err
	}
	shown := r.req.asides.Begin("copying oci-layout://" + where)
	img, err = r.depot.Pull.Copy(ctx, layout, root, pull.CopyOptions{
		Platform: platform, Mapping: r.req.Identity.Process, Progress: shown.Transfer,
	})
	shown.End(ctx, err)
	return img, r.explain(ctx, err)
}

// explain says what would help where an image has owners that the user namespace lacks.
func (r *resolver) explain(ctx context.Context, err error) error {
	if missing := new(pull.MissingIDs); errors.As(err, &missing) {
		return r.rangeError(ctx, missing)
	}
	return err
}
