package outputs

import (
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/store/images"
)

// made is a finished image.
type made struct {
	image  export.Image
	record images.Record
	// files is the root file system of the image.
	files *rootfs.Root
	// id is the image's ID in the store.
	id string
}

// indexOf is the index of images for several platforms.
func (b Room) indexOf(all []made, names []string) images.IndexRecord {
	index := images.IndexRecord{Names: names, Format: b.Format, Annotations: b.Image.Annotations.Index()}
	for _, m := range all {
		platform := m.image.Platform
		platform.OSFeatures = slices.Clone(platform.OSFeatures)
		index.Images = append(index.Images, images.IndexedImage{ID: m.id, Platform: platform,
			Annotations: b.Image.Annotations.ManifestDescriptor(platform)})
		if m.record.Created.After(index.Created) {
			index.Created = m.record.Created
		}
	}
	return index
}

// Check refuses outputs that can't hold images for all platforms, annotations of images that there are not, and pushes
// without a name to push to.
func Check(platforms []ocispec.Platform, specs []export.Spec, tags []string) error {
	for _, spec := range specs {
		if len(platforms) > 1 && spec.Type == export.TypeDocker {
			return fmt.Errorf("--output %s: %w", spec.Dest, export.ErrManyPlatforms)
		}
		if err := spec.Annotations.Check(platforms); err != nil {
			return fmt.Errorf("--output type=%s: %w", spec.Type, err)
		}
		if spec.Push == nil {
			continue
		}
		if _, err := PushNames(spec, tags); err != nil {
			return fmt.Errorf("--output type=%s: %w", spec.Type, err)
		}
	}
	return nil
}

// StoreNames gives the names that outputs add to the image in the store.
func StoreNames(specs []export.Spec) (names []string) {
	for _, spec := range specs {
		if spec.Type == export.TypeImage {
			names = append(names, spec.Names...)
		}
	}
	return names
}
