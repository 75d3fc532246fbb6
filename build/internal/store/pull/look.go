package pull

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Offered is what a registry has under a name.
type Offered struct {
	// Name is the full name.
	Name string
	// Root describes the manifest or index that the name leads to, and Text is its text.
	Root ocispec.Descriptor
	Text []byte
	// Index says whether it is an index.
	Index bool
	// Platforms are those that there are images for.
	Platforms []ocispec.Platform
}

// Look finds out what a registry has under a name, and fetches no image.
func (r *Room) Look(ctx context.Context, name string, o Options) (found Offered, err error) {
	err = r.tryNames(ctx, name, o, func(client *registry.Client, ref reference.Reference) error {
		found, err = look(ctx, client, ref)
		return err
	})
	return found, err
}

func look(ctx context.Context, client *registry.Client, ref reference.Reference) (found Offered, err error) {
	remote, err := client.Resolve(ctx, ref)
	if err != nil {
		return found, err
	}
	found = Offered{Name: ref.String(), Root: remote.Root}
	var entries []ocispec.Descriptor
	if found.Text, entries, err = content.ReadRoot(ctx, remote, remote.Root); err != nil {
		return found, err
	}
	if entries != nil {
		found.Index = true
		for _, d := range entries {
			if d.Platform != nil && content.IsManifest(d.MediaType) {
				found.Platforms = append(found.Platforms, *d.Platform)
			}
		}
		return found, nil
	}
	image, err := content.ReadImage(ctx, remote, remote.Root, ocispec.Platform{})
	if err != nil {
		return found, err
	}
	found.Platforms = []ocispec.Platform{image.Platform}
	return found, nil
}

// tryNames calls f with each full name that a name may stand for, until it succeeds, and as often as the options say.
func (r *Room) tryNames(ctx context.Context, name string, o Options,
	f func(*registry.Client, reference.Reference) error) error {
	client, err := registry.NewClient(o.Registry)
	if err != nil {
		return fmt.Errorf("pull %s: %w", name, err)
	}
	defer client.Close()
	names, err := r.images.ShortNames()
	if err != nil {
		return fmt.Errorf("pull %s: %w", name, err)
	}
	refs, err := names.PullCandidates(name)
	if err != nil {
		return fmt.Errorf("pull %s: %w", name, err)
	}
	var errs []error
	for _, ref := range refs {
		asked := ref
		if asked.Digest != "" {
			asked.Tag = "" // the digest says which image it is, whatever the tag has become
		}
		err := o.Retries.Do(ctx, o.again, func() error { return f(client, asked) })
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if missing := new(MissingIDs); errors.As(err, &missing) {
			return err
		}
		errs = append(errs, fmt.Errorf("pull %s: %w", ref, err))
	}
	return errors.Join(errs...)
}
