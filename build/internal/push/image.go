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
	// Index is what an index is to be; nil: the one image is pushed by itself.
	Index *Index
}

// Image is an image that is pushed.
type Image struct {
	export.Image
	// Format is that of the manifest, if nobody asks for another.
	Format imagebuilder.Format
	// Text is a manifest of the image that is used as it is if it names the very blobs that are pushed; nil: there is
	// none.
	Text []byte
	// Entry is how an index describes the image; digest, size and type of it don't count.
	Entry ocispec.Descriptor
}

// Index is what an index is to be.
type Index struct {
	Format imagebuilder.Format
	// Text is an index that is used as it is if it names the very manifests that are pushed; nil: there is none.
	Text []byte
	// Annotations are those that the index has.
	Annotations map[string]string
}

// manifest is the text of a manifest or index.
type manifest struct {
	ocispec.Descriptor
	text []byte
}

// manifests makes the manifests of the images, and their index last, of what find knows of the layers. They are nil if
// it doesn't know them all.
func (p *Pusher) manifests(src Source, find func(export.Blob) (ocispec.Descriptor, bool)) ([]manifest, error) {
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
		m, err := p.manifest(image, layers)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if src.Index == nil {
		return all, nil
	}
	index, err := p.index(src, all)
	return append(all, index), err
}

// manifest makes the manifest of an image, or takes the one that it has.
func (p *Pusher) manifest(image Image, layers []ocispec.Descriptor) (manifest, error) {
	format := p.formatOf(image.Format, layers)
	var had ocispec.Manifest
	if image.Text != nil && json.Unmarshal(image.Text, &had) == nil {
		if format == image.Format && len(p.Annotations) == 0 && had.MediaType == format.Manifest() &&
			names(had, image, layers) {
			return described(format.Manifest(), image.Text), nil
		}
	}
	whole := image.Image
	if format == imagebuilder.OCI {
		whole.Annotations = joined(had.Annotations, image.Annotations, p.Annotations)
	}
	d, text, err := whole.Manifest(layers, format)
	return manifest{d, text}, err
}

// formatOf is the format of a manifest with such layers: Docker's has no zstd.
func (p *Pusher) formatOf(usual imagebuilder.Format, layers []ocispec.Descriptor) imagebuilder.Format {
	if p.Format != "" {
		return p.Format
	}
	for _, d := range layers {
		if d.MediaType == ocispec.MediaTypeImageLayerZstd {
			return imagebuilder.OCI
		}
	}
	return usual
}

// names tells whether a manifest names the very blobs of an image.
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

// index makes the index of manifests, or takes the one that there is.
func (p *Pusher) index(src Source, manifests []manifest) (manifest, error) {
	format := src.Index.Format
	if p.Format != "" {
		format = p.Format
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: format.Index(),
		Manifests: []ocispec.Descriptor{}}
	for i, m := range manifests {
		if format == imagebuilder.Docker && m.MediaType != format.Manifest() {
			format, index.MediaType = imagebuilder.OCI, imagebuilder.OCI.Index()
		}
		entry := src.Images[i].Entry
		entry.MediaType, entry.Digest, entry.Size = m.MediaType, m.Digest, m.Size
		index.Manifests = append(index.Manifests, entry)
	}
	var had ocispec.Index
	if src.Index.Text != nil && json.Unmarshal(src.Index.Text, &had) == nil && len(p.Annotations) == 0 &&
		had.MediaType == index.MediaType && sameEntries(had, index) {
		return described(index.MediaType, src.Index.Text), nil
	}
	if format == imagebuilder.OCI {
		index.Annotations = joined(had.Annotations, src.Index.Annotations, p.Annotations)
	}
	text, err := export.Marshal(index)
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
