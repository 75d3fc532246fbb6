package store

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/userns"
)

// PullOptions say how to reach a registry.
type PullOptions struct {
	Platform ocispec.Platform
	// Insecure allows plain HTTP and certificates that can't be verified.
	Insecure bool
	AuthFile string
	CertDir  string
	// Mapping is the user namespace the image is unpacked in: IDs beyond it are reported all at once as *MissingIDs.
	Mapping *userns.Mapping
	// Progress is told what is being pulled; may be nil. It is called from several goroutines.
	Progress func(what string, done, total int64)
}

// Pull fetches an image into the store and returns it. A short name is resolved as registries.conf says, and to
// docker.io where it says nothing.
func (s *Store) Pull(ctx context.Context, name string, o PullOptions) (FoundImage, error) {
	client, err := registry.NewClient(registry.Options{Insecure: o.Insecure, AuthFile: o.AuthFile, CertDir: o.CertDir})
	if err != nil {
		return FoundImage{}, fmt.Errorf("pull %s: %w", name, err)
	}
	defer client.Close()
	names, err := s.shortNames()
	if err != nil {
		return FoundImage{}, fmt.Errorf("pull %s: %w", name, err)
	}
	refs, err := names.PullCandidates(name)
	if err != nil {
		return FoundImage{}, fmt.Errorf("pull %s: %w", name, err)
	}
	var errs []error
	for _, ref := range refs {
		found, err := s.pullOne(ctx, client, ref, o)
		if err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return FoundImage{}, context.Cause(ctx)
		}
		if missing := new(MissingIDs); errors.As(err, &missing) {
			return FoundImage{}, err
		}
		errs = append(errs, fmt.Errorf("pull %s: %w", ref, err))
	}
	return FoundImage{}, errors.Join(errs...)
}

func (s *Store) pullOne(ctx context.Context, client *registry.Client, ref reference.Reference,
	o PullOptions) (FoundImage, error) {
	if ref.Digest != "" {
		ref.Tag = "" // the digest says which image it is, whatever the tag has become
	}
	remote, err := client.Resolve(ctx, ref)
	if err != nil {
		return FoundImage{}, err
	}
	return s.CopyImage(ctx, remote, remote.Root, CopyOptions{Platform: o.Platform, Name: ref.String(), Mapping: o.Mapping,
		Progress: o.Progress})
}
