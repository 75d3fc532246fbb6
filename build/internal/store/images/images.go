package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// ErrNoImage says that no image of the store has the name.
var ErrNoImage = errors.New("no such image in the store")

// Finder finds the images of one store.
type Finder struct {
	store   *store.Store
	library *library.Library
	// shortNames gives what registries.conf says of short names. The first call reads the file.
	shortNames func() (*conf.ShortNames, error)
}

// Room finds and records the images of one store.
type Room struct {
	*Finder
	uses *uses.Ledger
}

// ShortNames is what registries.conf says of short names.
func (f *Finder) ShortNames() (*conf.ShortNames, error) { return f.shortNames() }

// New gives the room of a store's images.
func New(s *store.Store) *Room {
	find := &Finder{store: s, library: library.Of(s.Parts().Library), shortNames: sync.OnceValues(conf.LoadShortNames)}
	return &Room{Finder: find, uses: s.Parts().Uses}
}

// Found is an image of the store: what a stage needs of it, and its layers, bottom first.
type Found struct {
	imagebuilder.Base
	Layers []store.Layer
}

// Find looks for an image by ID (12 hex digits or more), by full name, or by short name: localhost first, then
// as registries.conf says. The error is ErrNoImage if there is none.
func (f *Finder) Find(ctx context.Context, name string) (Found, error) {
	img, found, err := f.lookUp(name)
	if err != nil {
		return Found{}, err
	}
	return f.Read(ctx, img, found)
}

// Read reads what a build needs of an image that was found by a name, and keeps its layers for the build.
func (f *Finder) Read(ctx context.Context, img *storage.Image, name string) (Found, error) {
	config, annotations, err := f.config(img)
	if err != nil {
		return Found{}, fmt.Errorf("read image %s: %w", name, err)
	}
	parsed, err := imagebuilder.ParseImage(config)
	if err != nil {
		return Found{}, fmt.Errorf("read image %s: %w", name, err)
	}
	layers, err := f.store.UseChain(ctx, img.TopLayer)
	if err != nil {
		return Found{}, fmt.Errorf("read image %s: %w", name, err)
	}
	if len(layers) != len(parsed.DiffIDs) {
		return Found{}, fmt.Errorf("read image %s: its config names %d layers, the store has %d", name,
			len(parsed.DiffIDs), len(layers))
	}
	for i := range layers {
		layers[i].DiffID = parsed.DiffIDs[i]
	}
	return Found{
		Base: imagebuilder.Base{ID: img.ID, Name: name, Digest: manifestDigest(img), Image: parsed, Annotations: annotations,
			Config: config},
		Layers: layers,
	}, nil
}

// manifestDigest is the digest of the manifest that an image has now. The library keeps the one that the image was made
// with, whatever manifest it gets later.
func manifestDigest(img *storage.Image) digest.Digest {
	if d := img.BigDataDigests[storage.ImageDigestBigDataKey]; d != "" {
		return d
	}
	return img.Digest
}

func (f *Finder) lookUp(name string) (*storage.Image, string, error) {
	all, err := f.candidates(name)
	if err != nil {
		return nil, "", fmt.Errorf("look up image %s: %w", name, err)
	}
	for _, candidate := range all {
		img, err := f.library.Image(candidate)
		if errors.Is(err, storage.ErrImageUnknown) {
			img, err = f.byDigest(candidate)
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
func (f *Finder) candidates(name string) ([]string, error) {
	if bare, ok := strings.CutPrefix(name, "sha256:"); ok && len(bare) == digest.SHA256.Size()*2 {
		return []string{bare, name}, nil
	}
	full, err := reference.Parse(name)
	if err != nil {
		return []string{name}, nil //nolint:nilerr // it may still be an ID
	}
	refs := []reference.Reference{full.WithLatest()}
	if conf.ShortName(name) {
		short, err := f.shortNames()
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

// byDigest finds an image by a digest, or by the one in a reference: that of its manifest or of an index it was pulled
// by. With a reference it must have a name in the same repository.
func (f *Finder) byDigest(name string) (*storage.Image, error) {
	if d := digest.Digest(name); d.Validate() == nil {
		images, err := f.library.ImagesByDigest(d)
		if err == nil && len(images) == 0 {
			err = storage.ErrImageUnknown
		}
		if err != nil {
			return nil, err
		}
		return images[0], nil
	}
	ref, err := reference.Parse(name)
	if err != nil || ref.Digest == "" {
		return nil, storage.ErrImageUnknown
	}
	images, err := f.library.ImagesByDigest(ref.Digest)
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

// config reads the config of an image, and the annotations that its manifest has.
func (f *Finder) config(img *storage.Image) (config []byte, annotations map[string]string, err error) {
	raw, err := f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	d := m.Config.Digest
	if err := d.Validate(); err != nil {
		return nil, nil, fmt.Errorf("config digest: %w", err)
	}
	if config, err = f.library.ImageBigData(img.ID, d.String()); err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if d.Algorithm().FromBytes(config) != d {
		return nil, nil, errors.New("config does not have the digest that the manifest gives it")
	}
	return config, m.Annotations, nil
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

// Has tells whether the store has an image with this full ID.
func (f *Finder) Has(id string) bool {
	img, err := f.library.Image(id)
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
	if conf.ShortName(name) {
		if ref, err = reference.Parse("localhost/" + name); err != nil {
			return "", fmt.Errorf("image name %q: %w", name, err)
		}
	}
	return ref.WithLatest().String(), nil
}

// NormalizeNames does what NormalizeName does for several texts.
func NormalizeNames(texts []string) ([]string, error) {
	var names []string
	for _, text := range texts {
		name, err := NormalizeName(text)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// CheckName returns an error if an image can't have the name.
func CheckName(name string) error {
	_, err := NormalizeName(name)
	return err
}
