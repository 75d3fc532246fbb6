package images

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
)

// Described is all that the store knows of an image.
type Described struct {
	Found
	Listed Listed
	// Manifest is the text of its manifest.
	Manifest []byte
	// Driver is the name of the storage driver, and DriverData is what that says of the top layer: for overlay, the
	// directories.
	Driver     string
	DriverData map[string]string
}

// Describe describes the image of a name, or the image for a platform if the name is that of an index. The error is
// ErrNoImage if there is none.
func (f *Finder) Describe(ctx context.Context, name string, platform ocispec.Platform) (Described, error) {
	found, err := f.FindFor(ctx, name, platform)
	if err != nil {
		return Described{}, err
	}

	img, err := f.library.Image(found.ID)
	if err != nil {
		return Described{}, fmt.Errorf("read image %s: %w", name, err)
	}

	byID, err := f.layersByID()
	if err != nil {
		return Described{}, err
	}

	d := Described{Found: found, Listed: f.listed(img, byID), Driver: f.store.Driver()}
	if d.Manifest, err = f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey); err != nil {
		return Described{}, fmt.Errorf("read image %s: manifest: %w", name, err)
	}
	if img.TopLayer == "" {
		return d, nil
	}

	driver, err := f.library.GraphDriver()
	if err == nil {
		d.DriverData, err = driver.Metadata(img.TopLayer)
	}
	if err != nil {
		return Described{}, fmt.Errorf("read image %s: top layer: %w", name, err)
	}
	delete(d.DriverData, "MergedDir") // nothing is there unless a container runs
	return d, nil
}
