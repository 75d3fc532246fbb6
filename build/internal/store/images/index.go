package images

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// IndexRecord is an index of images of the store, for several platforms.
type IndexRecord struct {
	Images []IndexedImage
	// Format is that of the index and of its images.
	Format imagebuilder.Format
	// Annotations are those of the index; Docker's format has none.
	Annotations map[string]string
	// Names are full references; one that another image has is taken from it.
	Names   []string
	Created time.Time
}

// IndexedImage is an image of an index.
type IndexedImage struct {
	// ID is the image's in the store.
	ID       string
	Platform ocispec.Platform
	// Annotations are those of its entry.
	Annotations map[string]string
}

// instancesKey is where podman and buildah look for the images of a manifest list: an object of manifest digests and
// containers-storage references.
const instancesKey = "instances.json"

// PutIndex records an index as podman manifest does: an image without layers. Its ID is the hex digits of the index's
// digest. The same index is recorded once, and gets the names.
func (r *Room) PutIndex(ctx context.Context, record IndexRecord) (index digest.Digest, err error) {
	raw, instances, err := r.makeIndex(record)
	if err != nil {
		return "", fmt.Errorf("record index: %w", err)
	}

	index = digest.FromBytes(raw)
	instances[""] = index.Encoded()
	references, err := json.Marshal(instances)
	if err != nil {
		return "", fmt.Errorf("record index: %w", err)
	}

	err = r.put(ctx, storage.Image{ID: index.Encoded(), Names: record.Names}, &storage.ImageOptions{
		CreationDate: record.Created,
		Digest:       index,
		Flags:        map[string]any{ownFlag: true},
		BigData: []storage.ImageBigDataOption{
			{Key: storage.ImageDigestManifestBigDataNamePrefix + "-" + index.String(), Data: raw, Digest: index},
			{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: index},
			{Key: instancesKey, Data: references, Digest: digest.FromBytes(references)},
		},
	}, false)
	if err != nil {
		return "", fmt.Errorf("record index: %w", err)
	}

	return index, nil
}

func (r *Room) makeIndex(record IndexRecord) (raw []byte, instances map[string]string, err error) {
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: record.Format.Index(), Manifests: []ocispec.Descriptor{},
	}
	if record.Format != imagebuilder.Docker {
		index.Annotations = record.Annotations
	}
	instances = map[string]string{}
	for _, i := range record.Images {
		manifest, err := r.library.ImageBigData(i.ID, storage.ImageDigestBigDataKey)
		if err != nil {
			return nil, nil, fmt.Errorf("manifest of %s: %w", i.ID, err)
		}
		var said struct {
			MediaType string `json:"mediaType"`
		}
		if json.Unmarshal(manifest, &said) != nil || said.MediaType == "" { // OCI's manifests need not say it
			said.MediaType = record.Format.Manifest()
		}
		d := ocispec.Descriptor{
			MediaType: said.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest)),
			Platform: &i.Platform,
		}
		if record.Format != imagebuilder.Docker {
			d.Annotations = i.Annotations
		}
		index.Manifests = append(index.Manifests, d)
		instances[d.Digest.String()] = fmt.Sprintf("containers-storage:[%s@%s+%s]@%s", r.store.Driver(), r.store.Paths().Root,
			r.library.RunRoot(), i.ID)
	}
	raw, err = json.Marshal(index)
	return raw, instances, err
}

// FindFor is Find, but takes the image for a platform if the name is that of an index. The error is ErrNoImage
// if the index has no image for it, or the store lacks that image.
func (f *Finder) FindFor(ctx context.Context, name string, platform ocispec.Platform) (Found, error) {
	img, found, err := f.lookUp(name)
	if err != nil {
		return Found{}, err
	}

	for depth := 0; ; depth++ {
		index, err := f.indexOf(img)
		if err != nil {
			return Found{}, fmt.Errorf("read image %s: %w", name, err)
		}
		if index == nil {
			return f.Read(ctx, img, found)
		}

		const deepest = 4
		if depth == deepest {
			return Found{}, fmt.Errorf("read image %s: more than %d indexes in each other", name, deepest)
		}

		d, err := content.Choose(index.Manifests, platform)
		if err != nil {
			return Found{}, fmt.Errorf("image %s: %w: %w", name, ErrNoImage, err)
		}

		images, err := f.library.ImagesByDigest(d.Digest)
		if err != nil {
			return Found{}, fmt.Errorf("look up image %s: %w", name, err)
		}
		if len(images) == 0 {
			return Found{}, fmt.Errorf("image %s of the index %s: %w", d.Digest, name, ErrNoImage)
		}
		img = images[0]
	}
}

// indexOf reads the index that an image of the store is, nil if it is a plain image.
func (f *Finder) indexOf(img *storage.Image) (*ocispec.Index, error) {
	if img.TopLayer != "" {
		return nil, nil //nolint:nilnil // no index is an answer
	}
	raw, err := f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var index struct {
		ocispec.Index
		Config *ocispec.Descriptor `json:"config"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if index.Config != nil || index.Manifests == nil {
		return nil, nil //nolint:nilnil // no index is an answer
	}
	return &index.Index, nil
}

// Instances are the IDs of the images of an index.
func (f *Finder) Instances(img storage.Image) (ids []string) {
	for _, at := range f.references(img) {
		if id, here := imageAt(at); here {
			ids = append(ids, id)
		}
	}
	return ids
}
