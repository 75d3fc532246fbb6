package imagetar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// dockerList is the list of images in docker's archives, and the manifest in skopeo's directories.
	dockerList = "manifest.json"
	// annotationName is where containerd and docker keep an image's full name in index.json.
	annotationName = "io.containerd.image.name"
	// maxImages is how many images a file may have, maxLayers how many layers each, and maxNames how many names.
	maxImages = 1000
	maxLayers = 500
	maxNames  = 1000
)

// Image is an image of a file.
type Image struct {
	// Root describes its manifest, or the index that has it.
	Root ocispec.Descriptor
	// Names are as the file has them; Docker says that those without a registry are in Docker's own.
	Names  []string
	Docker bool
	// Tag is the tag, or the name, that a layout's index has.
	Tag string
}

// Images are the images of the file, in its order.
func (f *File) Images() ([]Image, error) {
	all, err := f.images()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read %s: there is no image in it", f.name)
	}
	return all, nil
}

func (f *File) images() ([]Image, error) {
	all, err := f.layout()
	if err == nil {
		f.nameThem(all)
		return all, nil
	}
	if !errors.Is(err, errNoMember) {
		return nil, err
	}
	if f.file == nil {
		return f.directory()
	}
	list, err := f.dockerImages()
	if errors.Is(err, errNoMember) {
		return nil, errors.New("it is no archive of images: it has neither index.json nor manifest.json" +
			"\nhint: podman import makes an image of an archive of files")
	}
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		root, err := f.synthesize(i)
		if err != nil {
			return nil, err
		}
		all = append(all, Image{Root: root, Names: i.RepoTags, Docker: true})
	}
	return all, nil
}

// layout reads an OCI layout. The error is errNoMember if it is none.
func (f *File) layout() (all []Image, err error) {
	var marker ocispec.ImageLayout
	if err := f.decode(ocispec.ImageLayoutFile, &marker); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(marker.Version, "1.") {
		return nil, fmt.Errorf("its layout is of version %q, only 1 is known", printable.Clip(marker.Version))
	}
	var index ocispec.Index
	if err := f.decode(ocispec.ImageIndexFile, &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) > maxImages {
		return nil, fmt.Errorf("it has more than %d images", maxImages)
	}
	for _, d := range index.Manifests {
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%s: digest of an image: %w", ocispec.ImageIndexFile, err)
		}
		at := slices.IndexFunc(all, func(i Image) bool { return i.Root.Digest == d.Digest })
		if at < 0 {
			at = len(all)
			all = append(all, Image{Root: d, Tag: d.Annotations[ocispec.AnnotationRefName]})
		}
		name := d.Annotations[annotationName]
		if ref := d.Annotations[ocispec.AnnotationRefName]; name == "" && strings.ContainsAny(ref, "/:") {
			name = ref // podman has the full name there, others have only the tag
		}
		if name != "" {
			all[at].Names = append(all[at].Names, name)
		}
	}
	return all, nil
}

// nameThem gives images of a layout without names those that docker's list beside it has, if there is one.
func (f *File) nameThem(all []Image) {
	list, err := f.dockerImages()
	if err != nil || slices.ContainsFunc(all, func(i Image) bool { return len(i.Names) > 0 }) {
		return
	}
	for at := range all {
		var m ocispec.Manifest
		if f.decode(f.place(all[at].Root.Digest), &m) != nil || m.Config.Digest.Validate() != nil {
			continue
		}
		for _, i := range list {
			if strings.Contains(i.Config, m.Config.Digest.Encoded()) {
				all[at].Names, all[at].Docker = i.RepoTags, true
			}
		}
	}
}

// dockerImage is an image in docker's list.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (f *File) dockerImages() (list []dockerImage, err error) {
	if err := f.decode(dockerList, &list); err != nil {
		return nil, err
	}
	if len(list) > maxImages {
		return nil, fmt.Errorf("it has more than %d images", maxImages)
	}
	for _, i := range list {
		if len(i.Layers) > maxLayers || len(i.RepoTags) > maxNames {
			return nil, fmt.Errorf("an image has %d layers and %d names, more than %d and %d can't be used", len(i.Layers),
				len(i.RepoTags), maxLayers, maxNames)
		}
	}
	return list, nil
}

// synthesize makes the manifest of an image that docker's archive has none of.
func (f *File) synthesize(i dockerImage) (ocispec.Descriptor, error) {
	const format = imagebuilder.Docker
	config, err := f.text(i.Config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var parsed struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("config %s: %w", printable.Clip(i.Config), err)
	}
	if len(parsed.RootFS.DiffIDs) != len(i.Layers) {
		return ocispec.Descriptor{}, fmt.Errorf("the list has %d layers for the image %s, its config %d", len(i.Layers),
			printable.Clip(i.Config), len(parsed.RootFS.DiffIDs))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: format.Manifest(), Layers: []ocispec.Descriptor{},
		Config: ocispec.Descriptor{MediaType: format.Config(), Digest: digest.FromBytes(config), Size: int64(len(config))},
	}
	f.at[m.Config.Digest] = i.Config
	for n, name := range i.Layers {
		d, err := f.layer(name, parsed.RootFS.DiffIDs[n])
		if err != nil {
			return d, err
		}
		f.at[d.Digest] = name
		d.MediaType = format.Layer(d.MediaType)
		m.Layers = append(m.Layers, d)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	f.made[d.Digest] = text
	return d, nil
}

// layer describes a layer's file. One that isn't compressed has the digest that the config gives it, which is verified
// when it is read.
func (f *File) layer(name string, diffID digest.Digest) (d ocispec.Descriptor, err error) {
	r, size, err := f.open(name)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	head := make([]byte, min(16, size))
	if _, err := io.ReadFull(r, head); err != nil {
		return d, fmt.Errorf("layer %s: %w", printable.Clip(name), err)
	}
	d = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}
	switch decompress.Recognize(head) {
	case decompress.None:
		return d, diffID.Validate()
	case decompress.Gzip:
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case decompress.Zstd:
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	}
	whole := digest.SHA256.Digester()
	if _, err := whole.Hash().Write(head); err != nil {
		return d, err
	}
	if _, err := io.Copy(whole.Hash(), r); err != nil {
		return d, fmt.Errorf("layer %s: %w", printable.Clip(name), err)
	}
	d.Digest = whole.Digest()
	return d, nil
}

// directory reads a directory of skopeo's dir: transport.
func (f *File) directory() ([]Image, error) {
	text, err := f.text(dockerList)
	if errors.Is(err, errNoMember) {
		return nil, errors.New("it is no directory with an image: it has neither index.json nor manifest.json")
	}
	if err != nil {
		return nil, err
	}
	var m struct {
		MediaType string               `json:"mediaType"`
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", dockerList, err)
	}
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(blobs, *m.Config)
	}
	for _, d := range m.Manifests {
		if d.Digest.Validate() == nil {
			f.at[d.Digest] = d.Digest.Encoded() + ".manifest.json"
		}
	}
	for _, d := range blobs {
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%s: digest of a blob: %w", dockerList, err)
		}
		f.at[d.Digest] = d.Digest.Encoded()
	}
	d := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	f.made[d.Digest] = text
	return []Image{{Root: d}}, nil
}
