package images

import (
	"fmt"
	"time"

	"go.podman.io/storage"
)

// About is what an image's record says besides what a build needs of it.
type About struct {
	// Names are those that somebody gave it.
	Names    []string
	Created  time.Time
	Manifest []byte
}

// About tells of the image with the ID; the zero value if the ID is empty.
func (f *Finder) About(id string) (a About, err error) {
	if id == "" {
		return a, nil
	}
	img, err := f.library.Image(id)
	if err != nil {
		return a, fmt.Errorf("look up image %s: %w", id, err)
	}
	a.Names, a.Created = GivenNames(img), img.Created
	if a.Manifest, err = f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey); err != nil {
		return a, fmt.Errorf("read manifest of image %s: %w", id, err)
	}
	return a, nil
}
