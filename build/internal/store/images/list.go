package images

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Listed is an image of the store as its records describe it. What can't be read of a damaged one is zero.
type Listed struct {
	ID string
	// Names are those that somebody gave it, without the cache's; OldNames are all that it ever had.
	Names, OldNames []string
	// Cached says that it is cooper's own and has no name: only the cache needs it.
	Cached bool
	// ReadOnly says that it is in another store, which this one looks into.
	ReadOnly bool
	// Digest is that of its manifest or index, Digests are all by which it can be found.
	Digest  digest.Digest
	Digests []digest.Digest
	Created time.Time
	// Size is how many bytes its layers' content and its records have, Shared how many of these are in layers that other
	// images have, too; List finds that out. Images that only the cache needs don't count as others.
	Size, Shared int64
	// TopLayer is empty if it has no layers. Layers has their IDs, bottom first.
	TopLayer string
	Layers   []string
	// Instances are the IDs of the images of an index; nil: it is no index.
	Instances []string
	// Intermediate says that it has no name and that another image was built on it.
	Intermediate bool
	// Containers are the names of those that use it, or the IDs of those without one.
	Containers []string
	Image      imagebuilder.Image
}

// List lists the images of the store in the order of their making, newest first.
func (f *Finder) List() ([]Listed, error) {
	all, err := f.library.Images()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	byID, err := f.layersByID()
	if err != nil {
		return nil, err
	}
	containers, err := f.library.Containers()
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	using := map[string][]string{}
	for _, c := range containers {
		name := c.ID[:min(len(c.ID), shortID)]
		if len(c.Names) > 0 {
			name = c.Names[0]
		}
		using[c.ImageID] = append(using[c.ImageID], name)
	}
	listed := make([]Listed, 0, len(all))
	for i := range all {
		l := f.listed(&all[i], byID)
		l.Containers = using[l.ID]
		listed = append(listed, l)
	}
	share(listed, byID)
	for i, l := range listed {
		listed[i].Intermediate = l.Dangling() && slices.ContainsFunc(listed,
			func(child Listed) bool { return child.BuiltOn(l) })
	}
	slices.SortStableFunc(listed, func(a, b Listed) int { return b.Created.Compare(a.Created) })
	return listed, nil
}

// A sizedLayer is a layer whose size is looked for once.
type sizedLayer struct {
	*storage.Layer
	size func() int64
}

func (f *Finder) layersByID() (map[string]sizedLayer, error) {
	layers, err := f.library.Layers()
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	byID := map[string]sizedLayer{}
	for i := range layers {
		byID[layers[i].ID] = sizedLayer{&layers[i], sync.OnceValue(func() int64 { return f.sizeOf(&layers[i]) })}
	}
	return byID, nil
}

// share finds out what images share with each other.
func share(listed []Listed, layers map[string]sizedLayer) {
	count := map[string]int{}
	for _, l := range listed {
		if !l.Cached {
			for _, id := range l.Layers {
				count[id]++
			}
		}
	}
	for i, l := range listed {
		own := 1
		if l.Cached {
			own = 0
		}
		for _, id := range l.Layers {
			if count[id] > own {
				listed[i].Shared += layers[id].size()
			}
		}
	}
}

func (f *Finder) listed(img *storage.Image, layers map[string]sizedLayer) Listed {
	l := Listed{
		ID: img.ID, Names: GivenNames(img), OldNames: img.NamesHistory, ReadOnly: img.ReadOnly, Digest: manifestDigest(img),
		Digests: img.Digests, Created: img.Created, TopLayer: img.TopLayer,
	}
	l.Cached = len(l.Names) == 0 && Own(img) && !slices.Contains(img.BigDataNames, askedItem)
	for id := img.TopLayer; id != "" && layers[id].Layer != nil; id = layers[id].Parent {
		l.Layers = append(l.Layers, id)
		l.Size += layers[id].size()
	}
	slices.Reverse(l.Layers)
	for _, n := range img.BigDataSizes {
		l.Size += n
	}
	if index, err := f.indexOf(img); err == nil && index != nil {
		l.Instances = slices.DeleteFunc(f.Instances(*img), func(id string) bool { return id == img.ID })
		if l.Instances == nil {
			l.Instances = []string{}
		}
		return l
	}
	if config, _, err := f.config(img); err == nil {
		if parsed, err := imagebuilder.ParseImage(config); err == nil {
			l.Image = parsed
		}
	}
	return l
}

// sizeOf is the size of a layer's content in bytes. One that was fetched in chunks has no size in its record.
func (f *Finder) sizeOf(l *storage.Layer) int64 {
	if l.UncompressedDigest != "" && l.UncompressedSize >= 0 {
		return l.UncompressedSize
	}
	n, err := f.library.DiffSize("", l.ID)
	if err != nil {
		return 0 // the list is no place to tell of a damaged layer
	}
	return n
}

// LookUp finds an image by name, ID or digest and tells which of its names was meant; "": none, it was found by
// something else. The error is ErrNoImage if there is none.
func (f *Finder) LookUp(name string) (id, given string, err error) {
	img, found, err := f.lookUp(name)
	if err != nil {
		return "", "", err
	}
	if slices.Contains(img.Names, found) {
		return img.ID, found, nil
	}
	return img.ID, "", nil
}

// RepoDigests are the names of an image with each of its digests in the place of the tag.
func (l Listed) RepoDigests() []string {
	all := []string{}
	for _, name := range l.Names {
		ref, err := reference.Parse(name)
		if err != nil {
			continue
		}
		for _, d := range l.Digests {
			if text := ref.Name() + "@" + d.String(); !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

// Dangling tells whether it has no name.
func (l Listed) Dangling() bool { return len(l.Names) == 0 }

// BuiltOn tells whether an image has all that another one has, and more.
func (l Listed) BuiltOn(base Listed) bool {
	has, had := l.Image.History, base.Image.History
	return len(had) > 0 && len(has) > len(had) && len(l.Layers) >= len(base.Layers) &&
		slices.Equal(l.Layers[:len(base.Layers)], base.Layers) &&
		slices.EqualFunc(has[:len(had)], had, func(a, b imagebuilder.History) bool {
			return a.CreatedBy == b.CreatedBy && a.EmptyLayer == b.EmptyLayer
		})
}
