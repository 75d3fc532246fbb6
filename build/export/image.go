package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// Blob is one layer, uncompressed.
type Blob struct {
	// ID is the layer's in the store.
	ID string
	// DiffID is the sha256 digest of the tar stream, Size its length in bytes.
	DiffID digest.Digest
	Size   int64
	// Open starts the stream; it may be called more than once. The caller closes what it returns.
	Open func() (io.ReadCloser, error)
	// Came describes the compressed blob that the layer was pulled as, with OCI's media type; the zero value: none.
	Came ocispec.Descriptor
	// Spared is called in place of Open where the compressed blob is to be had and nobody reads the stream; it may be
	// nil.
	Spared func()
}

// Image is an image to be written. The package doesn't change it.
type Image struct {
	// Config is the image config JSON, byte for byte; its digest is the image ID. Its rootfs must list the layers'
	// DiffIDs.
	Config []byte
	// Layers are the layers, bottom first. The same DiffID may come twice.
	Layers []Blob
	// Platform goes into index.json; it is left out there if OS is empty.
	Platform ocispec.Platform
	// Names are full image names, as in "localhost/app:v1"; without a tag it is "latest".
	Names []string
	// Annotations go into the manifest.
	Annotations map[string]string
	// Text is the manifest that the image has already; an image that WriteAll writes keeps it, whatever its format, if it
	// names exactly the blobs that are written. Nil: the manifest is made anew.
	Text []byte
	// Created is the time stamp of an archive's members; the zero value means 1970.
	Created time.Time
	// Keeper has compressed layers; nil: all layers are compressed here. A push has its own.
	Keeper Keeper
}

// Result says what was written.
type Result struct {
	// Manifest describes the image's manifest.
	Manifest ocispec.Descriptor
	// ImageID is the digest of the config.
	ImageID digest.Digest
	// Layers are the blobs as written, bottom first.
	Layers []ocispec.Descriptor
	// Names are the names in the index, with tags.
	Names []string
}

// ErrDigest means that a layer's content doesn't have its DiffID.
var ErrDigest = errors.New("content doesn't match its digest")

// ConfigDescriptor describes the config as a manifest does.
func (i Image) ConfigDescriptor(format imagebuilder.Format) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: format.Config(),
		Digest:    digest.FromBytes(i.Config),
		Size:      int64(len(i.Config)),
	}
}

// Manifest makes the image's manifest in a format. layers are the layers' descriptors with media types of OCI.
func (i Image) Manifest(layers []ocispec.Descriptor, format imagebuilder.Format) (ocispec.Descriptor, []byte, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: format.Manifest(), Config: i.ConfigDescriptor(format),
		Layers: slices.Clone(layers),
	}
	for n := range m.Layers {
		m.Layers[n].MediaType = format.Layer(m.Layers[n].MediaType)
	}
	if format == imagebuilder.OCI {
		m.Annotations = i.Annotations // Docker's has none
	}
	text, err := Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("encode manifest: %w", err)
	}
	return ocispec.Descriptor{
		MediaType: format.Manifest(),
		Digest:    digest.FromBytes(text),
		Size:      int64(len(text)),
	}, text, nil
}

// kept describes the manifest that the image has already; false: there is none, or it names other blobs.
func (i Image) kept(layers []ocispec.Descriptor) (ocispec.Descriptor, bool) {
	var m ocispec.Manifest
	if i.Text == nil || json.Unmarshal(i.Text, &m) != nil || m.Config.Digest != digest.FromBytes(i.Config) ||
		m.MediaType == "" || len(m.Layers) != len(layers) {
		return ocispec.Descriptor{}, false
	}
	for n, l := range m.Layers {
		if l.Digest != layers[n].Digest || l.Size != layers[n].Size || len(l.URLs) > 0 {
			return ocispec.Descriptor{}, false
		}
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(i.Text), Size: int64(len(i.Text))}, true
}

// Check refuses an image that no tool could use, so that it is found before any work is done.
func (i Image) Check() error {
	var config struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(i.Config, &config); err != nil {
		return fmt.Errorf("read image config: %w", err)
	}
	if want, got := len(i.Layers), len(config.RootFS.DiffIDs); want != got {
		return fmt.Errorf("check image config: it lists %d layers, the image has %d", got, want)
	}

	for n, l := range i.Layers {
		if err := l.DiffID.Validate(); err != nil {
			return fmt.Errorf("check layer %d: diffID %q: %w", n, l.DiffID, err)
		}
		if l.DiffID.Algorithm() != digest.SHA256 {
			return fmt.Errorf("check layer %d: diffID %s: must be sha256", n, l.DiffID)
		}
		if l.Size < 0 {
			return fmt.Errorf("check layer %d: size %d", n, l.Size)
		}
		if l.DiffID != config.RootFS.DiffIDs[n] {
			return fmt.Errorf("check image config: layer %d is %s there, %s in the image", n, config.RootFS.DiffIDs[n], l.DiffID)
		}
	}

	return nil
}

// Marshal is json.Marshal without HTML escapes, which no reader of a manifest expects.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
