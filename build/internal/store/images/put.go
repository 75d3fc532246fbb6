package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Record is an image to be put into the store. Names are full references; one that another image has is taken
// from it. Layers are bottom first.
type Record struct {
	Config []byte
	// Format is that of the manifest. Empty: the one that the image has already, and that of OCI for a new one.
	Format imagebuilder.Format
	Layers []store.Layer
	// Annotations are those of the manifest; Docker's format has none.
	Annotations map[string]string
	Names       []string
	Created     time.Time
	// Keep says that the cache needs the image: without another name it gets one of the cache's.
	Keep bool
	// Asked says that somebody wants to see the image in lists, though it has no name.
	Asked bool
}

// Put records an image whose layers are in the store and returns its ID, the hex digits of the config's digest,
// with the manifest's digest. An image that is there already gets the names, and the manifest if its format was asked
// for.
func (r *Room) Put(ctx context.Context, record Record) (id string, manifestDigest digest.Digest, err error) {
	img, o, err := imageOf(record)
	if err != nil {
		return "", "", err
	}
	if err := r.put(ctx, img, o, record.Format != ""); err != nil {
		return "", "", fmt.Errorf("record image: %w", err)
	}
	return img.ID, o.Digest, nil
}

// imageOf is the record as containers/storage has it.
func imageOf(r Record) (storage.Image, *storage.ImageOptions, error) {
	raw, err := localManifest(r)
	if err != nil {
		return storage.Image{}, nil, err
	}
	manifest, config := digest.FromBytes(raw), digest.FromBytes(r.Config)
	img := storage.Image{ID: config.Encoded(), Names: r.Names, Metadata: "{}"}
	if r.Keep && len(r.Names) == 0 {
		img.Names = []string{keepName(img.ID)}
	}
	if n := len(r.Layers); n > 0 {
		img.TopLayer = r.Layers[n-1].ID
	}
	items := []storage.ImageBigDataOption{
		{Key: config.String(), Data: r.Config, Digest: config},
		{Key: storage.ImageDigestManifestBigDataNamePrefix + "-" + manifest.String(), Data: raw, Digest: manifest},
		{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: manifest},
	}
	if r.Asked {
		yes := []byte("yes")
		items = append(items, storage.ImageBigDataOption{Key: askedItem, Data: yes, Digest: digest.FromBytes(yes)})
	}
	return img, &storage.ImageOptions{CreationDate: r.Created, Digest: manifest, BigData: items,
		Flags: map[string]any{ownFlag: true}}, nil
}

// askedItem is a part of the record of an image that is listed though only the cache has a name for it. It is none of
// the image's flags, since those can't be set later.
const askedItem = "cooper-asked"

// ownFlag is the flag of the images that are cooper's own while they have no name. Images that other tools have made,
// or that were pulled under a name, don't have it.
const ownFlag = "cooper"

// put makes an image, unless it is there, gives it its names and keeps it for the build. One that is there gets
// what it lacks, as when the process that made it was killed; with renew it gets the manifest.
func (r *Room) put(ctx context.Context, img storage.Image, o *storage.ImageOptions, renew bool) error {
	if !r.Has(img.ID) { // its record was made when the layers were on the disk
		if err := r.store.Parts().Durable.Make(ctx, img.TopLayer); err != nil {
			return err
		}
	}

	var there bool
	err := r.uses.WhileUsing(ctx, func() error {
		_, err := r.library.CreateImage(img.ID, img.Names, img.TopLayer, img.Metadata, o)
		if errors.Is(err, storage.ErrDuplicateName) {
			err = r.putInPlace(img, o)
		}
		if there = errors.Is(err, storage.ErrDuplicateID); err != nil && !there {
			return err
		}
		if there { // the one in the store may lie on other layers
			if err := r.noteChain(img.ID); err != nil {
				return err
			}
			if err := r.addItems(img.ID, o.BigData, renew); err != nil {
				return err
			}
		}
		if err := r.uses.Note(uses.Thing{Kind: uses.Images, Name: img.ID}, nil); err != nil {
			return err
		}
		return r.Name(img.ID, img.Names)
	})
	if err == nil && there {
		err = r.Move(ctx, img.ID, img.TopLayer)
	}

	return err
}

// putInPlace makes an image that takes names from others. Until it has them it goes by its digest: one without any name
// would be taken by `podman image prune`, and its layers with it.
func (r *Room) putInPlace(img storage.Image, o *storage.ImageOptions) error {
	repository, err := reference.Parse(img.Names[0])
	if err != nil {
		return err
	}
	meanwhile := []string{repository.Name() + "@" + o.Digest.String()}
	if _, err = r.library.CreateImage(img.ID, meanwhile, img.TopLayer, img.Metadata, o); err != nil {
		return err
	}
	if err := r.keepOthers(img.ID, img.Names); err != nil {
		return err
	}
	if err := r.library.SetNames(img.ID, img.Names); err != nil {
		return fmt.Errorf("set names: %w", err)
	}
	return nil
}

// noteChain keeps the layers of an image for the build. It is called within WhileUsing.
func (r *Room) noteChain(id string) error {
	img, err := r.library.Image(id)
	if err != nil {
		return err
	}
	chain, err := r.store.Chain(img.TopLayer)
	for _, l := range chain {
		err = errors.Join(err, r.uses.Note(uses.Thing{Kind: uses.Layers, Name: l.ID}, nil))
	}
	return err
}

func localManifest(r Record) ([]byte, error) {
	m := ocispec.Manifest{
		MediaType: r.Format.Manifest(),
		Config: ocispec.Descriptor{MediaType: r.Format.Config(), Digest: digest.FromBytes(r.Config),
			Size: int64(len(r.Config))},
		Layers: []ocispec.Descriptor{},
	}
	m.SchemaVersion = 2
	if r.Format != imagebuilder.Docker {
		m.Annotations = r.Annotations
	}
	for _, l := range r.Layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: r.Format.Layer(ocispec.MediaTypeImageLayer),
			Digest: l.DiffID, Size: l.Size})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return raw, nil
}
