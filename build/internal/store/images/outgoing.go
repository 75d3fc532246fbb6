package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Outgoing is an image of the store that is to leave it.
type Outgoing struct {
	Found
	// Manifest is the text of the manifest that the store has.
	Manifest []byte
	// Entry is how an index describes the image; the zero value: it was found by itself.
	Entry ocispec.Descriptor
}

// FindOutgoing finds the image of a name, or the index of a name and its images. The index is nil, or its text. The
// error is ErrNoImage if there is none, or if the store lacks an image of the index.
func (f *Finder) FindOutgoing(ctx context.Context, name string) (index []byte, images []Outgoing, err error) {
	img, found, err := f.lookUp(name)
	if err != nil {
		return nil, nil, err
	}

	list, err := f.indexOf(img)
	if err != nil {
		return nil, nil, fmt.Errorf("read image %s: %w", name, err)
	}
	if list == nil {
		one, err := f.outgoing(ctx, img, found)
		return nil, []Outgoing{one}, err
	}
	if index, err = f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey); err != nil {
		return nil, nil, fmt.Errorf("read image %s: %w", name, err)
	}

	for _, d := range list.Manifests {
		all, err := f.library.ImagesByDigest(d.Digest)
		if err != nil {
			return nil, nil, fmt.Errorf("look up image %s: %w", name, err)
		}
		if len(all) == 0 {
			return nil, nil, fmt.Errorf("image %s of the index %s: %w", d.Digest, name, ErrNoImage)
		}
		one, err := f.outgoing(ctx, all[0], found)
		if err != nil {
			return nil, nil, err
		}
		one.Entry = d
		images = append(images, one)
	}

	return index, images, nil
}

func (f *Finder) outgoing(ctx context.Context, img *storage.Image, name string) (Outgoing, error) {
	found, err := f.Read(ctx, img, name)
	if err != nil {
		return Outgoing{}, err
	}
	manifest, err := f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return Outgoing{}, fmt.Errorf("read image %s: manifest: %w", name, err)
	}
	return Outgoing{Found: found, Manifest: manifest}, nil
}

// NamesBeside are the tags that the repository of a name has in the store, as full names in order.
func (f *Finder) NamesBeside(name string) ([]string, error) {
	img, found, err := f.lookUp(name)
	if err != nil && !errors.Is(err, ErrNoImage) {
		return nil, err
	}
	if img == nil {
		if found, err = NormalizeName(name); err != nil {
			return nil, err
		}
	}

	repository, err := reference.Parse(found)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", found, err)
	}

	images, err := f.library.Images()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}

	var all []string
	for _, i := range images {
		for _, n := range i.Names {
			if ref, err := reference.Parse(n); err == nil && ref.Tag != "" && ref.Name() == repository.Name() {
				all = append(all, n)
			}
		}
	}

	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w", name, ErrNoImage)
	}
	slices.Sort(all)
	return all, nil
}

// Origins are the names of the store's images that were pulled with a blob among their layers.
func (f *Finder) Origins(blob digest.Digest) ([]reference.Reference, error) {
	images, err := f.library.Images()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var all []reference.Reference
	for _, img := range images {
		raw, err := f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
		var m ocispec.Manifest
		if err != nil || json.Unmarshal(raw, &m) != nil || !slices.ContainsFunc(m.Layers,
			func(d ocispec.Descriptor) bool { return d.Digest == blob }) {
			continue
		}
		for _, name := range img.Names {
			if ref, err := reference.Parse(name); err == nil && ref.HasRegistry() && ref.Domain != "localhost" {
				all = append(all, ref.Repository())
			}
		}
	}
	return slices.Compact(all), nil
}
