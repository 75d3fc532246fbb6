package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrManyPlatforms says that an output has room for one image only.
var ErrManyPlatforms = errors.New(
	"type=docker can't hold images for several platforms: write type=oci, type=local or type=tar, or build for one")

// WriteIndex writes images for several platforms and an OCI index of them, which gets the names: those of the first
// image, or spec.Names. Blobs that several images have are written once. Otherwise it does what Write does; in the
// result Manifest describes the index, and ImageID and Layers are empty.
func WriteIndex(ctx context.Context, spec Spec, images []Image, stdout io.Writer) (Result, error) {
	return WriteIndexAs(ctx, spec, images, nil, stdout)
}

// WriteIndexAs is WriteIndex for images that have an index already. Its text is written as it is if it names exactly
// the manifests that are written, and else its annotations are taken over.
func WriteIndexAs(ctx context.Context, spec Spec, images []Image, text []byte, stdout io.Writer) (Result, error) {
	names, err := prepareIndex(spec, images)
	if err != nil {
		return Result{}, fmt.Errorf("export index: %w", err)
	}
	t, err := open(ctx, spec, images[0], stdout)
	if err != nil {
		return Result{}, fmt.Errorf("export index: %w", err)
	}
	defer t.abort()
	result, err := writeIndex(ctx, newWriter(t, spec), spec, images, text)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		entry := result.Manifest
		entry.Annotations = spec.Annotations.IndexDescriptor()
		err = t.commit(ctx, contents{entries: indexEntries(entry, ocispec.Platform{}, names)})
	}
	if err != nil {
		return Result{}, fmt.Errorf("export index to %s: %w", spec.Dest, err)
	}
	for _, n := range names {
		result.Names = append(result.Names, n.full)
	}
	return result, nil
}

// prepareIndex refuses images that can't be written as an index, before any work is done, and gives the index's names.
func prepareIndex(spec Spec, images []Image) ([]imageName, error) {
	if len(images) == 0 {
		return nil, errors.New("there is no image")
	}
	if spec.Type != TypeOCI {
		return nil, ErrManyPlatforms
	}
	if err := spec.Check(); err != nil {
		return nil, err
	}
	var platforms []ocispec.Platform
	for _, image := range images {
		if err := image.Check(); err != nil {
			return nil, err
		}
		platforms = append(platforms, image.Platform)
	}
	if err := spec.Annotations.Check(platforms); err != nil {
		return nil, err
	}
	if len(spec.Names) > 0 {
		return parseNames(spec.Names)
	}
	return parseNames(images[0].Names)
}

func writeIndex(ctx context.Context, w writer, spec Spec, images []Image, had []byte) (Result, error) {
	var before ocispec.Index
	if had != nil && json.Unmarshal(had, &before) != nil {
		had, before = nil, ocispec.Index{}
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Annotations: mergeMaps(before.Annotations, spec.Annotations.Index()),
	}
	same := before.MediaType == index.MediaType && len(before.Manifests) == len(images) && len(spec.Annotations) == 0
	for i, image := range images {
		image.Annotations = mergeMaps(image.Annotations, spec.Annotations.Manifest(image.Platform))
		written, err := w.write(ctx, image)
		if err != nil {
			return Result{}, err
		}
		entry := written.Manifest
		entry.Platform = &image.Platform
		entry.Annotations = spec.Annotations.ManifestDescriptor(image.Platform)
		if i < len(before.Manifests) {
			entry.Annotations = mergeMaps(before.Manifests[i].Annotations, entry.Annotations)
			if before.Manifests[i].Platform != nil {
				entry.Platform = before.Manifests[i].Platform
			}
			same = same && before.Manifests[i].Digest == entry.Digest
		}
		index.Manifests = append(index.Manifests, entry)
	}
	text, err := Marshal(index)
	if err != nil {
		return Result{}, fmt.Errorf("encode index: %w", err)
	}
	if same {
		text = had
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(text), Size: int64(len(text))}
	return Result{Manifest: d}, w.data(ctx, d, text)
}
