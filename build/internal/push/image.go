package push

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Source is what is pushed: an image, or an index of images.
type Source struct {
	Images []Image
	// Index describes the index that is pushed with the images; nil: there is one image, pushed by itself.
	Index *Index
}

// Image is an image that is pushed.
type Image struct {
	export.Image
	// Format is the format of the manifest unless Options.Format says another.
	Format imagebuilder.Format
	// Text is the manifest that the image has already; it is pushed unchanged if it names exactly the blobs that are
	// pushed. Nil: the image has none.
	Text []byte
	// Entry is the descriptor for the index, with the platform and annotations; its digest, size and type are replaced.
	Entry ocispec.Descriptor
}

// Index describes an index that is pushed.
type Index struct {
	Format imagebuilder.Format
	// Text is the index that the images have already; it is pushed unchanged if it names exactly the manifests that are
	// pushed. Nil: they have none.
	Text []byte
	// Annotations are the annotations of the index.
	Annotations map[string]string
	// Features are what the images need of the processor, by the digests in their Entry.
	Features imagebuilder.Features
}

// manifest is the text of a manifest or index.
type manifest struct {
	ocispec.Descriptor
	text []byte
}

// manifests makes the manifests of the images, and their index last, from the blobs that find knows for the layers. The
// result is nil if find lacks one of them.
func (o *Options) manifests(src Source, find func(export.Blob) (ocispec.Descriptor, bool)) ([]manifest, error) {
	var all []manifest
	for _, image := range src.Images {
		var layers []ocispec.Descriptor
		for _, l := range image.Layers {
			d, ok := find(l)
			if !ok {
				return nil, nil
			}
			layers = append(layers, d)
		}
		m, err := o.manifest(image, layers)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if src.Index == nil {
		return all, nil
	}
	index, err := o.index(src, all)
	return append(all, index), err
}

// manifest makes the manifest of an image, or takes the one that it has.
func (o *Options) manifest(image Image, layers []ocispec.Descriptor) (manifest, error) {
	format := o.formatOf(image.Format, layers)
	var err error
	if image.Image, err = image.As(layers); err != nil {
		return manifest{}, err
	}
	var had ocispec.Manifest
	added := o.Annotations.Manifest(image.Platform)
	if image.Text != nil && json.Unmarshal(image.Text, &had) == nil {
		if format == image.Format && len(added) == 0 && had.MediaType == format.Manifest() &&
			names(had, image, layers) {
			return described(format.Manifest(), image.Text), nil
		}
	}
	whole := image.Image
	if format == imagebuilder.OCI {
		whole.Annotations = joined(had.Annotations, image.Annotations, added)
	}
	d, text, err := whole.Manifest(layers, format)
	return manifest{d, text}, err
}

// formatOf is the format of a manifest with such layers: Docker's has no zstd and no annotations, by which eStargz is
// known.
func (o *Options) formatOf(usual imagebuilder.Format, layers []ocispec.Descriptor) imagebuilder.Format {
	if o.Format != "" {
		return o.Format
	}
	for _, d := range layers {
		if d.MediaType == ocispec.MediaTypeImageLayerZstd || (export.Codec{Kind: export.EStargz}).Makes(d) {
			return imagebuilder.OCI
		}
	}
	return usual
}

// names tells whether a manifest names exactly the config and layers of an image.
func names(m ocispec.Manifest, image Image, layers []ocispec.Descriptor) bool {
	if m.Config.Digest != digest.FromBytes(image.Config) || len(m.Layers) != len(layers) {
		return false
	}
	for i, l := range m.Layers {
		if l.Digest != layers[i].Digest || l.Size != layers[i].Size || len(l.URLs) > 0 {
			return false
		}
	}
	return true
}

// index makes the index of manifests, or takes the text of src.Index if that fits.
func (o *Options) index(src Source, manifests []manifest) (manifest, error) {
	format := src.Index.Format
	if o.Format != "" {
		format = o.Format
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: format.Index(),
		Manifests: []ocispec.Descriptor{}}
	added := o.Annotations.Index()
	annotated := len(added) > 0
	features := imagebuilder.Features{}
	for i, m := range manifests {
		if format == imagebuilder.Docker && m.MediaType != format.Manifest() && src.Index.Features == nil {
			format, index.MediaType = imagebuilder.OCI, imagebuilder.OCI.Index()
		}
		entry := src.Images[i].Entry
		if needs, some := src.Index.Features[entry.Digest]; some && format == imagebuilder.Docker {
			features[m.Digest] = needs
		}
		entry.MediaType, entry.Digest, entry.Size = m.MediaType, m.Digest, m.Size
		if more := o.Annotations.ManifestDescriptor(src.Images[i].Platform); more != nil {
			entry.Annotations, annotated = joined(entry.Annotations, more), true
		}
		index.Manifests = append(index.Manifests, entry)
	}
	var had ocispec.Index
	if src.Index.Text != nil && json.Unmarshal(src.Index.Text, &had) == nil && !annotated &&
		had.MediaType == index.MediaType && sameEntries(had, index) {
		return described(index.MediaType, src.Index.Text), nil
	}
	if format == imagebuilder.OCI {
		index.Annotations = joined(had.Annotations, src.Index.Annotations, added)
	}
	text, err := imagebuilder.MarshalIndex(index, features)
	if err != nil {
		return manifest{}, fmt.Errorf("encode index: %w", err)
	}
	return described(index.MediaType, text), nil
}

func sameEntries(a, b ocispec.Index) bool {
	if len(a.Manifests) != len(b.Manifests) {
		return false
	}
	for i := range a.Manifests {
		if a.Manifests[i].Digest != b.Manifests[i].Digest {
			return false
		}
	}
	return true
}

func described(mediaType string, text []byte) manifest {
	return manifest{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}, text}
}

// joined is all annotations; later ones win. It is nil if there are none.
func joined(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, a := range all {
		maps.Copy(sum, a)
	}
	if len(sum) == 0 {
		return nil
	}
	return sum
}
