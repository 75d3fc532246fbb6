package bases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/userns"
)

// PullPolicy says when a base image is fetched from its registry.
type PullPolicy string

// The pull policies; the zero value is PullMissing. PullNewer fetches an image if its registry has another one of the
// name, and makes do with the store's if that can't be found out.
const (
	PullMissing PullPolicy = "missing"
	PullAlways  PullPolicy = "always"
	PullNewer   PullPolicy = "newer"
	PullNever   PullPolicy = "never"
)

// Images are the images of a store.
type Images interface {
	// FindFor gives the image of a name, or an image of its index: that for the platform, if there is one.
	FindFor(ctx context.Context, name string, platform ocispec.Platform) (images.Found, error)
	// Move moves an image's own record to other layers, unless a container uses it.
	Move(ctx context.Context, id, top string) error
	// OpenList finds the index of a name. The error is images.ErrNoImage or images.ErrNoList if there is none.
	OpenList(name string) (images.ManifestList, error)
}

// Layers are the layers of a store.
type Layers interface {
	// Rechain gives layers the IDs that other tools give them.
	Rechain(ctx context.Context, layers []store.Layer) ([]store.Layer, error)
}

// Transfer brings images into a store.
type Transfer interface {
	// Pull fetches an image from its registry into the store.
	Pull(ctx context.Context, name string, o pull.Options) (images.Found, error)
	// Copy copies an image from a layout or another source that can be read.
	Copy(ctx context.Context, from content.Fetcher, root ocispec.Descriptor, o pull.CopyOptions) (images.Found,
		error)
	// Look finds out what a registry has under a name, and fetches no image.
	Look(ctx context.Context, name string, o pull.Options) (pull.Offered, error)
}

var (
	_ Images   = (*images.Room)(nil)
	_ Layers   = snapshot.Rechainer{}
	_ Transfer = (*pull.Room)(nil)
)

// Options say where images may come from.
type Options struct {
	Images   Images
	Layers   Layers
	Transfer Transfer
	Registry session.Registry
	Pull     PullPolicy
	// User is who calls, and Process the user namespace that images are unpacked in; nil: the initial one.
	User     userns.User
	Process  *userns.Mapping
	Progress progress.Sink
	Asides   progress.Asides
	// Keep is called with each pulled and verified blob, which it may keep; nil: none is kept.
	Keep func(ctx context.Context, d ocispec.Descriptor, f *os.File)
	// Build gives the image of a context target:WHERE by a build of its own. Nil: images are only looked at, so nothing is
	// built and the layers of what is found stay as they are.
	Build func(ctx context.Context, where string, platform ocispec.Platform) (images.Found, error)
}

// Resolver finds images. It is safe for concurrent use.
type Resolver struct {
	Options

	mu sync.Mutex
	// found holds images by ID, resolved their IDs by reference and platform: with several platforms each plan asks for
	// the same images.
	found    map[string]images.Found
	resolved map[string]string
}

var _ plan.Resolver = (*Resolver)(nil)

// New makes a resolver that has found nothing yet.
func New(o Options) *Resolver {
	return &Resolver{Options: o, found: map[string]images.Found{}, resolved: map[string]string{}}
}

// Image is an image that Resolve has found, by its ID.
func (r *Resolver) Image(id string) images.Found {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found[id]
}

// Resolve finds an image as the pull policy says.
func (r *Resolver) Resolve(ctx context.Context, ref string, want plan.Wanted) (imagebuilder.Base, error) {
	key := fmt.Sprint(ref, " ", platforms.FormatAll(want.Platform), want.Asked)
	if base, ok := r.known(key); ok {
		return base, nil
	}
	img, err := r.find(ctx, ref, want)
	if err == nil && r.Build != nil {
		img, err = r.rechain(ctx, img)
	}
	if err != nil {
		return imagebuilder.Base{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found[img.ID], r.resolved[key] = img, img.ID
	return img.Base, nil
}

func (r *Resolver) known(key string) (base imagebuilder.Base, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok := r.resolved[key]
	return r.found[id].Base, ok
}

// rechain gives a base's layers the IDs that other tools give them.
func (r *Resolver) rechain(ctx context.Context, img images.Found) (images.Found, error) {
	if store.Chained(img.Layers) {
		return img, nil
	}
	r.Progress.Emit(progress.Note{Text: "giving the layers of " + img.Name +
		" the IDs that other tools give them, once"})
	layers, err := r.Layers.Rechain(ctx, img.Layers)
	if err == nil {
		err = r.Images.Move(ctx, img.ID, layers[len(layers)-1].ID)
	}
	if err != nil {
		return img, fmt.Errorf("base image %s: %w", img.Name, err)
	}
	img.Layers = layers
	return img, nil
}

// find looks in the store first. An image there for another platform is the last resort, of which the plan warns, and
// none at all if the platform was asked for. One for an earlier variant than was asked for is the last resort, too, for
// there may be one for the variant itself.
func (r *Resolver) find(ctx context.Context, ref string, want plan.Wanted) (images.Found, error) {
	platform := want.Platform
	if where, ok := strings.CutPrefix(ref, plan.TargetRef); ok {
		if r.Build == nil {
			return images.Found{}, plan.ErrUnknownImage
		}
		return r.Build(ctx, where, platform)
	}
	if where, ok := strings.CutPrefix(ref, plan.LayoutRef); ok {
		return r.copyLayout(ctx, where, platform)
	}
	if id, ok := strings.CutPrefix(ref, plan.BuiltRef); ok {
		return r.Images.FindFor(ctx, id, platform)
	}
	if reference.IsID(ref) { // which no registry has
		return r.Images.FindFor(ctx, ref, platform)
	}
	if r.Pull == PullNewer {
		return r.findNewer(ctx, ref, want)
	}
	var other *images.Found
	if r.Pull != PullAlways {
		img, err := r.Images.FindFor(ctx, ref, platform)
		switch {
		case err == nil && (serves(img.Image.Platform, want) ||
			r.Pull == PullNever && (!want.Asked || fits(img.Image.Platform, platform))):
			return img, nil
		case err == nil && r.Pull == PullNever:
			return img, otherPlatform(ref, img, want, errors.New("--pull=never forbids to fetch another"))
		case err == nil:
			other = &img
		case !errors.Is(err, images.ErrNoImage):
			return img, err
		case r.Pull == PullNever:
			return img, fmt.Errorf("%w (and --pull=never forbids to fetch it)", err)
		}
	}
	return r.pull(ctx, ref, want, other)
}

// findNewer fetches an image if the store lacks it or has another one: of an image that the store has, only the
// manifest and the config are fetched. An image in the store is used if its registry can't be reached or lacks it.
func (r *Resolver) findNewer(ctx context.Context, ref string, want plan.Wanted) (images.Found, error) {
	have, err := r.Images.FindFor(ctx, ref, want.Platform)
	if errors.Is(err, images.ErrNoImage) {
		return r.pull(ctx, ref, want, nil)
	}
	if err != nil {
		return have, err
	}
	if !serves(have.Image.Platform, want) {
		return r.pull(ctx, ref, want, &have)
	}
	shown := r.Asides.Begin("looking for a newer " + ref)
	o := r.options(want, shown)
	o.Retries = registry.Retries{} // there is an image that will do
	img, err := r.Transfer.Pull(ctx, ref, o)
	if missing := new(pull.MissingIDs); err == nil || ctx.Err() != nil || errors.As(err, &missing) {
		shown.End(ctx, err)
		return img, Explain(ctx, err, r.User, r.Process)
	}
	shown.GiveUp()
	r.Progress.Emit(progress.Note{Text: fmt.Sprintf("using the image %s in the store: %v", ref, err)})
	return have, nil
}

// options are those of a pull that is shown.
func (r *Resolver) options(want plan.Wanted, shown progress.Aside) pull.Options {
	return pull.Options{
		Platform: want.Platform, Registry: r.Registry.Options(), Mapping: r.Process, Progress: shown.Transfer,
		Keep: r.Keep, Retries: r.Registry.Retries,
		Again: func(wait time.Duration, err error) {
			r.Progress.Emit(progress.Note{Text: fmt.Sprintf("pulling once more in %s: %v", wait, err)})
		},
	}
}

// pull fetches an image. Where that fails, another that the store has will do, unless its platform was asked for.
func (r *Resolver) pull(ctx context.Context, ref string, want plan.Wanted, other *images.Found) (images.Found,
	error) {
	shown := r.Asides.Begin("pulling " + ref)
	img, err := r.Transfer.Pull(ctx, ref, r.options(want, shown))
	if err != nil && other != nil && ctx.Err() == nil {
		if want.Asked && !fits(other.Image.Platform, want.Platform) {
			shown.End(ctx, err)
			return img, otherPlatform(ref, *other, want, err)
		}
		shown.GiveUp()
		r.Progress.Emit(progress.Note{Text: fmt.Sprintf("using the image in the store, which is for %s: %v",
			platforms.Format(other.Image.Platform), err)})
		return *other, nil
	}
	shown.End(ctx, err)
	return img, Explain(ctx, err, r.User, r.Process)
}

// copyLayout copies the image of a context oci-layout://DIR[:TAG][@DIGEST] into the store, where it gets no name.
// Layers that are there already are not read again.
func (r *Resolver) copyLayout(ctx context.Context, where string, platform ocispec.Platform) (img images.Found,
	err error) {
	name, err := content.ParseLayoutName(where)
	if err != nil {
		return img, err
	}
	layout, err := content.OpenLayout(name.Dir)
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(err, layout.Close()) }()
	root, err := layout.Resolve(name.Tag, name.Digest)
	if err != nil {
		return img, err
	}
	shown := r.Asides.Begin("copying oci-layout://" + where)
	img, err = r.Transfer.Copy(ctx, layout, root, pull.CopyOptions{
		Platform: platform, Mapping: r.Process, Progress: shown.Transfer, Keep: r.Keep,
	})
	shown.End(ctx, err)
	return img, Explain(ctx, err, r.User, r.Process)
}

// Explain adds a hint to an error about an image whose files have owners that the user namespace process lacks; owner
// is who calls.
func Explain(ctx context.Context, err error, owner userns.User, process *userns.Mapping) error {
	missing := new(pull.MissingIDs)
	if !errors.As(err, &missing) {
		return err
	}
	need := userns.IDs{UIDs: missing.UIDs, GIDs: missing.GIDs}
	return fmt.Errorf("%w\n%w", missing, userns.Finder{}.Check(ctx, owner, *process, need))
}

// otherPlatform is the error that names the platform of an image in the store, which was not used for it, and says why
// no other image could be had.
func otherPlatform(ref string, img images.Found, want plan.Wanted, err error) error {
	have := platforms.FormatAll(platforms.Normalize(img.Image.Platform))
	return fmt.Errorf("image %s in the store is for %s, not for %s, and there is no other: %w\n"+
		"hint: build %[1]s with --platform=%[3]s, or write FROM --platform=%[2]s if only its files are of interest",
		ref, have, platforms.FormatAll(want.Platform), err)
}

// serves tells whether a registry needs not be asked for another image: of a variant that was asked for, only the image
// for the variant itself will do.
func serves(have ocispec.Platform, want plan.Wanted) bool {
	if !want.Asked || have.OS == "" || have.Architecture == "" {
		return fits(have, want.Platform)
	}
	return fits(have, want.Platform) &&
		platforms.Normalize(have).Variant == platforms.Normalize(want.Platform).Variant
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
