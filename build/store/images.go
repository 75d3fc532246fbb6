package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/store/uses"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/userns"
)

// FoundImage is an image of the store: what a stage needs of it, and its layers, bottom first.
type FoundImage struct {
	imagebuilder.Base
	Layers []Layer
}

// FindImage looks for an image by ID (12 hex digits or more), by full name, or by short name: localhost first, then
// as registries.conf says. The error is ErrNoImage if there is none.
func (s *Store) FindImage(ctx context.Context, name string) (FoundImage, error) {
	img, found, err := s.lookUp(name)
	if err != nil {
		return FoundImage{}, err
	}
	return s.readImage(ctx, img, found)
}

// readImage reads what a build needs of an image that was found by a name.
func (s *Store) readImage(ctx context.Context, img *storage.Image, name string) (FoundImage, error) {
	config, err := s.imageConfig(img)
	if err != nil {
		return FoundImage{}, fmt.Errorf("read image %s: %w", name, err)
	}
	parsed, err := imagebuilder.ParseImage(config)
	if err != nil {
		return FoundImage{}, fmt.Errorf("read image %s: %w", name, err)
	}
	layers, err := s.useChain(ctx, img.TopLayer)
	if err != nil {
		return FoundImage{}, fmt.Errorf("read image %s: %w", name, err)
	}
	if len(layers) != len(parsed.DiffIDs) {
		return FoundImage{}, fmt.Errorf("read image %s: its config names %d layers, the store has %d", name,
			len(parsed.DiffIDs), len(layers))
	}
	for i := range layers {
		layers[i].DiffID = parsed.DiffIDs[i]
	}
	return FoundImage{
		Base:   imagebuilder.Base{ID: img.ID, Name: name, Digest: img.Digest, Image: parsed, Config: config},
		Layers: layers,
	}, nil
}

func (s *Store) lookUp(name string) (*storage.Image, string, error) {
	all, err := s.candidates(name)
	if err != nil {
		return nil, "", fmt.Errorf("look up image %s: %w", name, err)
	}
	for _, candidate := range all {
		img, err := s.store.Image(candidate)
		if errors.Is(err, storage.ErrImageUnknown) {
			img, err = s.byDigest(candidate)
		}
		if err == nil {
			return img, candidate, nil
		}
		if !errors.Is(err, storage.ErrImageUnknown) {
			return nil, "", fmt.Errorf("look up image %s: %w", candidate, err)
		}
	}
	return nil, "", fmt.Errorf("%s: %w", name, ErrNoImage)
}

// candidates are the names an image may have in the store, likeliest first.
func (s *Store) candidates(name string) ([]string, error) {
	if bare, ok := strings.CutPrefix(name, "sha256:"); ok && len(bare) == digest.SHA256.Size()*2 {
		return []string{bare}, nil
	}
	full, err := reference.Parse(name)
	if err != nil {
		return []string{name}, nil //nolint:nilerr // it may still be an ID
	}
	refs := []reference.Reference{full.WithLatest()}
	if registry.ShortName(name) {
		short, err := s.shortNames()
		if err != nil {
			return nil, err
		}
		if refs, err = short.LocalCandidates(name); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, r := range refs {
		names = append(names, r.String())
	}
	return append(names, name), nil
}

// byDigest finds an image by the digest in a reference: that of its manifest or of an index it was pulled by. It must
// have a name in the same repository.
func (s *Store) byDigest(name string) (*storage.Image, error) {
	ref, err := reference.Parse(name)
	if err != nil || ref.Digest == "" {
		return nil, storage.ErrImageUnknown
	}
	images, err := s.store.ImagesByDigest(ref.Digest)
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		for _, n := range img.Names {
			if has, err := reference.Parse(n); err == nil && has.Name() == ref.Name() {
				return img, nil
			}
		}
	}
	return nil, storage.ErrImageUnknown
}

func (s *Store) imageConfig(img *storage.Image) ([]byte, error) {
	raw, err := s.store.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	d, err := configDigest(raw)
	if err != nil {
		return nil, err
	}
	config, err := s.store.ImageBigData(img.ID, d.String())
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if d.Algorithm().FromBytes(config) != d {
		return nil, errors.New("config does not have the digest that the manifest gives it")
	}
	return config, nil
}

// configDigest is the digest that a manifest gives the config.
func configDigest(manifest []byte) (digest.Digest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	if err := m.Config.Digest.Validate(); err != nil {
		return "", fmt.Errorf("config digest: %w", err)
	}
	return m.Config.Digest, nil
}

// ImageRecord is an image to be put into the store. Names are full references; one that another image has is taken
// from it. Layers are bottom first.
type ImageRecord struct {
	Config []byte
	// Format is that of the manifest. Empty: the one that the image has already, and that of OCI for a new one.
	Format  imagebuilder.Format
	Layers  []Layer
	Names   []string
	Created time.Time
	// Keep says that the cache needs the image: without another name it gets one of the cache's.
	Keep bool
}

// PutImage records an image whose layers are in the store and returns its ID, the hex digits of the config's digest,
// with the manifest's digest. An image that is there already gets the names, and the manifest if its format was asked
// for.
func (s *Store) PutImage(ctx context.Context, r ImageRecord) (id string, manifestDigest digest.Digest, err error) {
	img, o, err := imageOf(r)
	if err != nil {
		return "", "", err
	}
	if err := s.putImage(ctx, img, o, r.Format != ""); err != nil {
		return "", "", fmt.Errorf("record image: %w", err)
	}
	return img.ID, o.Digest, nil
}

// imageOf is the record as containers/storage has it.
func imageOf(r ImageRecord) (storage.Image, *storage.ImageOptions, error) {
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
	return img, &storage.ImageOptions{
		CreationDate: r.Created,
		Digest:       manifest,
		BigData: []storage.ImageBigDataOption{
			{Key: config.String(), Data: r.Config, Digest: config},
			{Key: storage.ImageDigestManifestBigDataNamePrefix + "-" + manifest.String(), Data: raw, Digest: manifest},
			{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: manifest},
		},
		Flags: map[string]any{ownFlag: true},
	}, nil
}

// ownFlag is the flag of the images that are cooper's own while they have no name. Images that other tools have made,
// or that were pulled under a name, don't have it.
const ownFlag = "cooper"

// putImage makes an image, unless it is there, gives it its names and keeps it for the build. One that is there gets
// what it lacks, as after the death of who was making it; with renew it gets the manifest.
func (s *Store) putImage(ctx context.Context, img storage.Image, o *storage.ImageOptions, renew bool) error {
	if !s.HasImage(img.ID) { // its record was made when the layers were on the disk
		if err := s.makeDurable(ctx, img.TopLayer); err != nil {
			return err
		}
	}
	var there bool
	err := s.uses.WhileUsing(ctx, func() error {
		_, err := s.store.CreateImage(img.ID, img.Names, img.TopLayer, img.Metadata, o)
		if errors.Is(err, storage.ErrDuplicateName) {
			err = s.putInPlace(img, o)
		}
		if there = errors.Is(err, storage.ErrDuplicateID); err != nil && !there {
			return err
		}
		if there { // it may lie on other layers
			if err := s.noteChain(img.ID); err != nil {
				return err
			}
			if err := s.addItems(img.ID, o.BigData, renew); err != nil {
				return err
			}
		}
		if err := s.uses.Note(uses.Thing{Kind: uses.Images, Name: img.ID}, nil); err != nil {
			return err
		}
		return s.nameImage(img.ID, img.Names)
	})
	if err == nil && there {
		err = s.moveImage(ctx, img.ID, img.TopLayer)
	}
	return err
}

// putInPlace makes an image that takes names from others. Until it has them it goes by its digest: one without any name
// would be taken by `podman image prune`, and its layers with it.
func (s *Store) putInPlace(img storage.Image, o *storage.ImageOptions) error {
	repository, err := reference.Parse(img.Names[0])
	if err != nil {
		return err
	}
	meanwhile := []string{repository.Name() + "@" + o.Digest.String()}
	if _, err = s.store.CreateImage(img.ID, meanwhile, img.TopLayer, img.Metadata, o); err != nil {
		return err
	}
	if err := s.keepOthers(img.ID, img.Names); err != nil {
		return err
	}
	if err := s.store.SetNames(img.ID, img.Names); err != nil {
		return fmt.Errorf("set names: %w", err)
	}
	return nil
}

// noteChain keeps the layers of an image for the build. The caller is whileUsing.
func (s *Store) noteChain(id string) error {
	img, err := s.store.Image(id)
	if err != nil {
		return err
	}
	chain, err := s.Chain(img.TopLayer)
	for _, l := range chain {
		err = errors.Join(err, s.uses.Note(uses.Thing{Kind: uses.Layers, Name: l.ID}, nil))
	}
	return err
}

func localManifest(r ImageRecord) ([]byte, error) {
	m := ocispec.Manifest{
		MediaType: r.Format.Manifest(),
		Config: ocispec.Descriptor{MediaType: r.Format.Config(), Digest: digest.FromBytes(r.Config),
			Size: int64(len(r.Config))},
		Layers: []ocispec.Descriptor{},
	}
	m.SchemaVersion = 2
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

// HasImage tells whether the store has an image with this full ID.
func (s *Store) HasImage(id string) bool {
	img, err := s.store.Image(id)
	return err == nil && img.ID == id
}

// NormalizeName makes a full reference of a name given to -t: a tag is added if there is none, and "localhost/" if it
// has no registry, as podman and buildah do.
func NormalizeName(name string) (string, error) {
	ref, err := reference.Parse(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	if ref.Digest != "" {
		return "", fmt.Errorf("image name %q: a name to give can't have a digest", name)
	}
	if registry.ShortName(name) {
		if ref, err = reference.Parse("localhost/" + name); err != nil {
			return "", fmt.Errorf("image name %q: %w", name, err)
		}
	}
	return ref.WithLatest().String(), nil
}

// MissingIDs are the container IDs of an image's layers that the store's user can't map; see Pull.
type MissingIDs struct {
	Image      string
	UIDs, GIDs []uint32
}

func (e *MissingIDs) Error() string {
	what := "the image"
	if e.Image != "" {
		what = "image " + e.Image
	}
	return fmt.Sprintf("%s has files of %v, which this user's ranges do not reach", what,
		userns.IDs{UIDs: e.UIDs, GIDs: e.GIDs})
}
