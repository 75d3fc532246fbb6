package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// ErrNoList says that an image is no index.
var ErrNoList = errors.New("is an image and no manifest list")

// ManifestList is an index that is edited, as podman manifest keeps one: its ID stays when its content changes.
type ManifestList struct {
	// ID is empty for one that the store doesn't have yet, and Name the name that it was found by.
	ID, Name string
	Index    ocispec.Index
	// Text is the text of the index as the store has it; Features are what it says that ocispec.Index has no field for.
	Text     []byte
	Features imagebuilder.Features
	// Images are the IDs of the images in the store, by the digests of their manifests.
	Images map[digest.Digest]string
	// elsewhere are references of podman's to images that the store doesn't have, by digest.
	elsewhere map[string]string
}

// OpenList finds the manifest list of a name. The error is ErrNoImage or ErrNoList if there is none.
func (f *Finder) OpenList(name string) (ManifestList, error) {
	img, found, err := f.lookUp(name)
	if err != nil {
		return ManifestList{}, err
	}
	index, err := f.indexOf(img)
	if err != nil {
		return ManifestList{}, fmt.Errorf("read manifest list %s: %w", name, err)
	}
	if index == nil {
		return ManifestList{}, fmt.Errorf("%s %w", name, ErrNoList)
	}
	text, err := f.library.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return ManifestList{}, fmt.Errorf("read manifest list %s: %w", name, err)
	}
	l := ManifestList{ID: img.ID, Name: found, Index: *index, Text: text, Features: imagebuilder.ReadFeatures(text),
		Images: map[digest.Digest]string{}, elsewhere: map[string]string{}}
	for d, at := range f.references(*img) {
		id, here := imageAt(at)
		if img, err := f.library.Image(id); here && err == nil && d != "" { // podman may write a name
			l.Images[digest.Digest(d)] = img.ID
		} else if d != "" {
			l.elsewhere[d] = at
		}
	}
	return l, nil
}

// EntryOf describes an image of the store as an index does, and gives its ID. An index is ErrNoList's opposite: it has
// as many entries as images, which the caller takes one by one.
func (f *Finder) EntryOf(ctx context.Context, name string, platform ocispec.Platform) (d ocispec.Descriptor, id string,
	err error) {
	found, err := f.FindFor(ctx, name, platform)
	if err != nil {
		return d, "", err
	}
	manifest, err := f.library.ImageBigData(found.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return d, "", fmt.Errorf("read image %s: manifest: %w", name, err)
	}
	var m struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return d, "", fmt.Errorf("read image %s: manifest: %w", name, err)
	}
	if m.MediaType == "" {
		m.MediaType = ocispec.MediaTypeImageManifest
	}
	p := found.Image.Platform
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest)),
		Platform: &p}, found.ID, nil
}

// SaveList writes a manifest list and gives its ID. A new one gets its name, which is taken from the image that has it.
func (r *Room) SaveList(ctx context.Context, l ManifestList) (id string, err error) {
	raw, err := imagebuilder.MarshalIndex(l.Index, l.Features)
	if err != nil {
		return "", fmt.Errorf("record manifest list: %w", err)
	}
	isNew := l.ID == ""
	if isNew {
		if l.ID, err = library.RandomID(); err != nil {
			return "", fmt.Errorf("record manifest list: %w", err)
		}
	}
	references := map[string]string{"": l.ID}
	for _, d := range l.Index.Manifests {
		if at, there := l.elsewhere[d.Digest.String()]; there {
			references[d.Digest.String()] = at
		}
	}
	for d, image := range l.Images {
		references[d.String()] = fmt.Sprintf("containers-storage:[%s@%s+%s]@%s", r.store.Driver(), r.store.Paths().Root,
			r.library.RunRoot(), image)
	}
	instances, err := json.Marshal(references)
	if err != nil {
		return "", fmt.Errorf("record manifest list: %w", err)
	}
	items := []storage.ImageBigDataOption{
		{Key: instancesKey, Data: instances, Digest: digest.FromBytes(instances)},
		{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: digest.FromBytes(raw)},
	}
	if isNew {
		err = r.put(ctx, storage.Image{ID: l.ID, Names: []string{l.Name}, Metadata: "{}"},
			&storage.ImageOptions{CreationDate: time.Now(), Digest: digest.FromBytes(raw), BigData: items}, false)
	} else {
		err = r.uses.WhileUsing(ctx, func() error { return r.changeList(l.ID, items) })
	}
	if err != nil {
		return "", fmt.Errorf("record manifest list %s: %w", l.Name, err)
	}
	return l.ID, nil
}

// changeList replaces what the record of a manifest list has.
func (r *Room) changeList(id string, items []storage.ImageBigDataOption) error {
	for _, i := range items {
		if err := r.library.SetImageBigData(id, i.Key, i.Data,
			func([]byte) (digest.Digest, error) { return i.Digest, nil }); err != nil {
			return err
		}
	}
	return r.uses.Note(uses.Thing{Kind: uses.Images, Name: id}, nil)
}

// references are where podman finds the images of an index, by the digests of their manifests; the index itself has the
// key "".
func (f *Finder) references(img storage.Image) (all map[string]string) {
	if !slices.Contains(img.BigDataNames, instancesKey) {
		return nil
	}
	raw, err := f.library.ImageBigData(img.ID, instancesKey)
	if err != nil || json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}

// imageAt is the ID of the image in the store that a reference leads to; false: it leads elsewhere.
func imageAt(reference string) (id string, here bool) {
	at, here := strings.CutPrefix(reference, "containers-storage:")
	if _, name, inStore := strings.Cut(at, "]"); inStore {
		at = strings.TrimPrefix(name, "@")
	}
	if n := strings.LastIndexByte(at, '@'); n >= 0 && !strings.Contains(at[n:], ":") {
		at = at[n+1:] // NAME@ID
	}
	return at, here
}
