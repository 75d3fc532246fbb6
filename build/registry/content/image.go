package content

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/internal/printable"
)

// Media types that are read only; the others are in imagebuilder and in image-spec.
const (
	typeDockerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	typeSchema1       = "application/vnd.docker.distribution.manifest.v1"
	typeOCIForeign    = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

// What an image may have at most; sizes are in bytes.
const (
	// MaxManifest is what the text of a manifest or index may have.
	MaxManifest = 4 << 20
	maxConfig   = 4 << 20
	maxLayers   = 500
	maxNested   = 3
)

// ManifestTypes are the media types of manifests and indexes, of OCI and of Docker.
func ManifestTypes() []string {
	return []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, imagebuilder.TypeDockerList,
		imagebuilder.TypeDockerManifest}
}

// IsManifest tells whether a media type is that of a manifest or an index.
func IsManifest(mediaType string) bool { return slices.Contains(ManifestTypes(), mediaType) }

// Image is all of an image but its files: its texts, and descriptors of its layers. The digests of all texts are
// verified.
type Image struct {
	// Index is the text of the index that the name leads to; nil: the name leads to the manifest.
	Index []byte
	// Manifest is the text of the manifest for the platform.
	Manifest []byte
	// Config is the text of the config, with the digest that the manifest gives it.
	Config       []byte
	ConfigDigest digest.Digest
	// Layers are the descriptors of the layers, bottom first. DiffIDs are the digests that the config gives to their
	// uncompressed streams.
	Layers  []ocispec.Descriptor
	DiffIDs []digest.Digest
	// Platform is the platform in the config; parts of it may be empty.
	Platform ocispec.Platform
	// Created is the time in the config; zero: the config has none.
	Created time.Time
}

// anyManifest is the text of an index or manifest of whatever kind.
type anyManifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	FSLayers      []json.RawMessage    `json:"fsLayers"`
}

// ReadRoot reads the manifest or index that root describes. entries are those of an index; nil: it is a manifest.
func ReadRoot(ctx context.Context, src Fetcher, root ocispec.Descriptor) (text []byte, entries []ocispec.Descriptor,
	err error) {
	if text, err = ReadAll(ctx, src, root, MaxManifest); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := parseManifest(text, root.MediaType)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s: %w", root.Digest, err)
	}
	return text, m.Manifests, nil
}

// ReadImage reads the manifest and config of the image for a platform, from the manifest or index that root describes.
// A zero platform takes the first image of an index.
func ReadImage(ctx context.Context, src Fetcher, root ocispec.Descriptor, platform ocispec.Platform) (*Image, error) {
	img := &Image{}
	for d, depth := root, 0; ; depth++ {
		text, err := ReadAll(ctx, src, d, MaxManifest)
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		m, err := parseManifest(text, d.MediaType)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		if m.Config != nil {
			img.Manifest, img.Layers = text, m.Layers
			if !isConfig(m.MediaType, d.MediaType, m.Config.MediaType) {
				return nil, fmt.Errorf("is no container image: its config is of type %q", printable.Clip(m.Config.MediaType))
			}
			return img, img.readConfig(ctx, src, *m.Config, platform)
		}
		if depth == 0 {
			img.Index = text
		}
		if depth >= maxNested {
			return nil, errors.New("its indexes name each other without end")
		}
		if d, err = Choose(m.Manifests, platform); err != nil {
			return nil, err
		}
		if !IsManifest(d.MediaType) {
			return nil, fmt.Errorf("its index names %s, which is of type %q and no image", printable.Clip(d.Digest.String()),
				printable.Clip(d.MediaType))
		}
	}
}

// parseManifest reads an index, whose Config is nil, or a manifest, and refuses texts that could be taken
// for both.
func parseManifest(text []byte, mediaType string) (*anyManifest, error) {
	var m anyManifest
	if err := json.Unmarshal(text, &m); err != nil {
		if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
			return nil, fmt.Errorf("is neither an index nor an image: its %s can't be %s", printable.Clip(wrong.Field),
				printable.Clip(wrong.Value))
		}
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if m.MediaType != "" {
		mediaType = m.MediaType
	}
	switch {
	case m.SchemaVersion == 1, m.FSLayers != nil, strings.HasPrefix(mediaType, typeSchema1):
		return nil, errors.New(
			"is of Docker's schema 1, which is no longer read\nhint: push the image again with a current tool")
	case m.SchemaVersion != 2:
		return nil, fmt.Errorf("is of schema version %d, which is unknown", m.SchemaVersion)
	case m.Manifests != nil && (m.Config != nil || m.Layers != nil):
		return nil, errors.New("is an index and an image at the same time")
	case m.Manifests == nil && m.Config == nil:
		return nil, fmt.Errorf("is neither an index nor an image but %q", printable.Clip(mediaType))
	case m.Manifests != nil && (mediaType == ocispec.MediaTypeImageManifest ||
		mediaType == imagebuilder.TypeDockerManifest),
		m.Config != nil && (mediaType == ocispec.MediaTypeImageIndex || mediaType == imagebuilder.TypeDockerList):
		return nil, fmt.Errorf("is not what its type %s says", mediaType)
	}
	all := slices.Concat(m.Manifests, m.Layers)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	return &m, checkSizes(all...)
}

// isConfig tells whether a config may be that of an image, by the media types of the manifest, as it says and as it was
// served, and of the config. The last ones were given to configs by registries and builders of Docker's format in its
// first years.
func isConfig(manifest, served, config string) bool {
	switch config {
	case ocispec.MediaTypeImageConfig, imagebuilder.TypeDockerConfig:
		return true
	case "", "application/octet-stream", "application/json", "text/html":
		return cmp.Or(manifest, served) != ocispec.MediaTypeImageManifest
	}
	return false
}

// readConfig checks the layers' types and reads the config.
func (img *Image) readConfig(ctx context.Context, src Fetcher, d ocispec.Descriptor, platform ocispec.Platform) error {
	if len(img.Layers) > maxLayers {
		return fmt.Errorf("the image has %d layers, more than %d can't be used", len(img.Layers), maxLayers)
	}
	for i, l := range img.Layers {
		err := checkLayer(l)
		if sized, ok := src.(interface {
			CheckSize(ocispec.Descriptor) error
		}); ok && err == nil {
			err = sized.CheckSize(l) // a layer that the store has is not fetched, so its size is checked here
		}
		if err != nil {
			return fmt.Errorf("layer %d, %s: %w", i+1, printable.Clip(l.Digest.String()), err)
		}
	}
	var err error
	if img.Config, err = ReadAll(ctx, src, d, maxConfig); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	img.ConfigDigest = d.Digest
	var config struct {
		ocispec.Platform
		Created *time.Time `json:"created"`
		RootFS  struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return fmt.Errorf("config %s: %w", d.Digest, err)
	}
	if config.OS != "" && platform.OS != "" && config.OS != platform.OS {
		return fmt.Errorf("the image is for %s, not for %s", printable.Clip(formatPlatform(config.Platform)),
			formatPlatform(platform))
	}
	if config.Created != nil {
		img.Created = *config.Created
	}
	img.Platform, img.DiffIDs = config.Platform, config.RootFS.DiffIDs
	if len(img.DiffIDs) != len(img.Layers) {
		return fmt.Errorf("its manifest has %d layers, its config %d", len(img.Layers), len(img.DiffIDs))
	}
	for _, id := range img.DiffIDs {
		if err := id.Validate(); err != nil || id.Algorithm() != digest.SHA256 {
			return fmt.Errorf("config %s: layer %q is not named by its SHA-256", d.Digest, printable.Clip(id.String()))
		}
	}
	return nil
}

func checkLayer(d ocispec.Descriptor) error {
	kind, suffix, _ := strings.Cut(d.MediaType, "+")
	switch {
	case strings.Contains(suffix, "encrypted"):
		return errors.New("it is encrypted, which cooper can't read")
	case kind != ocispec.MediaTypeImageLayer && kind != typeOCIForeign &&
		!strings.HasPrefix(kind, imagebuilder.TypeDockerLayer) && !strings.HasPrefix(kind, typeDockerForeign):
		return fmt.Errorf("its type %q is not that of a file system", printable.Clip(d.MediaType))
	}
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return errors.New("it is not named by its SHA-256")
	}
	return nil
}
