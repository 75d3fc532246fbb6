package removal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Look is how closely is looked at sizes.
type Look int

const (
	// LookNoted takes the sizes that were written down, and measures what nobody has measured yet.
	LookNoted Look = iota
	// LookChanged measures what may have changed since as well, which is cache mounts.
	LookChanged
	// LookAll measures everything, images that stay too, which the other two leave out.
	LookAll
)

// Items lists what the store holds on disk, but for what is in other packages' care.
func (r *Room) Items(ctx context.Context, look Look) (items []disk.Item, err error) {
	l := &lister{room: r, ctx: ctx, look: look}
	if l.h, err = r.holding(); err != nil {
		return nil, err
	}
	l.notes = map[uses.Kind]map[string]uses.Used{}
	for _, kind := range []uses.Kind{uses.Layers, uses.Images, uses.Copies, uses.Mounts} {
		if l.notes[kind], err = r.uses.All(kind); err != nil {
			return nil, err
		}
	}
	if look == LookAll {
		l.images()
	}
	l.layers()
	l.records()
	if err := errors.Join(l.copies(), l.mounts()); err != nil {
		return nil, err
	}
	if err := errors.Join(l.errs...); err != nil {
		return nil, err
	}
	return l.items, r.saveSizes(ctx, l.measured, look == LookAll || look == LookChanged && l.orphans())
}

// orphans tells whether there are notes of layers that are gone.
func (l *lister) orphans() bool {
	for id := range l.notes[uses.Layers] {
		if l.h.layers[id] == nil {
			return true
		}
	}
	return false
}

// lister makes the list.
type lister struct {
	room  *Room
	ctx   context.Context //nolint:containedctx // it is that of the one call it is made for
	look  Look
	h     *holding
	notes map[uses.Kind]map[string]uses.Used // the notes of uses, by kind and name
	items []disk.Item                        // the list so far
	// measured are the sizes that were measured, for the notes.
	measured []measured
	errs     []error
}

type measured struct {
	uses.Thing
	size usage.Size
}

// noted adds an item that a note is kept of; dirs are its files.
func (l *lister) noted(kind uses.Kind, name string, i disk.Item, dirs ...string) {
	n := l.notes[kind][name]
	i.LastUse, i.Project = n.Last, n.Project
	if i.Label == "" {
		i.Label = n.Label
	}
	i.Size.Bytes = n.Size
	if l.look == LookAll || !n.Measured || n.Changing && l.look == LookChanged {
		i.Size = l.measure(dirs)
		l.measured = append(l.measured, measured{uses.Thing{Kind: kind, Name: name}, i.Size})
	}
	i.Size.Bytes += blocks(1) // the note
	l.items = append(l.items, i)
}

func (l *lister) measure(paths []string) (all usage.Size) {
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		if !info.IsDir() {
			all.Bytes += blocks(info.Size())
			continue
		}
		size, err := usage.Measure(l.ctx, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.errs = append(l.errs, err)
		}
		all.Bytes += size.Bytes
		if all.Links == nil {
			all.Links = size.Links
		} else {
			maps.Copy(all.Links, size.Links)
		}
	}
	return all
}

// blocks is how many bytes a file of this size takes on disk, in whole blocks.
func blocks(size int64) int64 {
	const block = 4096
	return (size + block - 1) / block * block
}

// layerFiles are the files of a layer.
func (r *Room) layerFiles(id string) []string {
	dir := filepath.Join(r.store.Paths().Root, r.store.Driver(), id)
	if r.store.Driver() == "vfs" {
		dir = filepath.Join(r.store.Paths().Root, "vfs", "dir", id)
	}
	return []string{dir, filepath.Join(r.store.Paths().Root, r.store.Driver()+"-layers", id+".tar-split.gz")}
}

// SizeOf is what a layer takes on disk in bytes, as far as it can be measured: it may be in the making.
func (r *Room) SizeOf(ctx context.Context, layer string) int64 {
	l := lister{room: r, ctx: ctx}
	return l.measure(r.layerFiles(layer)).Bytes
}

// images lists the images that stay. A layer counts with the first image that has it; those that no image has are an
// item as well.
func (l *lister) images() {
	counted := map[string]bool{}
	size := func(top string) (files []string) {
		for id := top; id != "" && l.h.layers[id] != nil && !counted[id]; id = l.h.layers[id].Parent {
			counted[id] = true
			files = append(files, l.room.layerFiles(id)...)
		}
		return files
	}

	for _, img := range l.h.stay {
		files := size(img.TopLayer)
		for _, top := range img.MappedTopLayers {
			files = append(files, size(top)...)
		}
		i := disk.Item{Kind: disk.Images, ID: img.ID,
			Label: strings.Join(append([]string{images.Short(img.ID)}, img.Names...), " "),
			Size:  l.measure(files)}
		i.Size.Bytes += recordSize(img)
		i.LastUse = l.notes[uses.Layers][img.TopLayer].Last
		l.items = append(l.items, i)
	}

	var rest []string
	for _, id := range slices.Sorted(maps.Keys(l.h.kept)) {
		rest = append(rest, size(id)...)
	}

	if len(rest) > 0 {
		l.items = append(l.items, disk.Item{Kind: disk.Images, Label: "layers of containers, or of tools at work",
			Size: l.measure(rest)})
	}
}

// recordSize is how many bytes an image takes on disk besides its layers.
func recordSize(img storage.Image) int64 {
	total := blocks(1) // the directory
	for _, n := range img.BigDataSizes {
		total += blocks(n)
	}
	return total
}

// layers lists the layers that nothing keeps.
func (l *lister) layers() {
	for _, id := range slices.Sorted(maps.Keys(l.h.layers)) {
		if !l.h.kept[id] {
			l.noted(uses.Layers, id, disk.Item{Kind: disk.Layers, ID: id, On: l.free(l.h.layers[id].Parent)},
				l.room.layerFiles(id)...)
		}
	}
}

// free is the layer if nothing keeps it.
func (l *lister) free(id string) string {
	if l.h.layers[id] == nil || l.h.kept[id] {
		return ""
	}
	return id
}

// records lists the images that are cooper's own. One whose layers have nothing else that holds them goes with them.
func (l *lister) records() {
	for _, img := range l.h.own {
		project := l.notes[uses.Layers][img.TopLayer].Project
		i := disk.Item{
			Kind: disk.Records, ID: imagePrefix + img.ID, Label: "image " + images.Short(img.ID), On: l.free(img.TopLayer),
			LastUse: l.notes[uses.Images][img.ID].Last, Project: project,
		}
		i.Bound = i.On != ""
		i.Size.Bytes = recordSize(img)
		l.items = append(l.items, i)
	}
}

// imagePrefix begins the IDs of records that are images.
const imagePrefix = "image/"

// IsImageRecord tells whether a record's ID is that of an image.
func IsImageRecord(id string) bool { return strings.HasPrefix(id, imagePrefix) }

// eachBelow calls f for the directories that are the things of a kind.
func (r *Room) eachBelow(kind uses.Kind, f func(upper, lower, path string)) error {
	base := filepath.Join(r.store.Paths().Own, string(kind))
	uppers, err := fsys.Subdirs(base)
	for _, upper := range uppers {
		lowers, lowerErr := fsys.Subdirs(filepath.Join(base, upper))
		err = errors.Join(err, lowerErr)
		for _, lower := range lowers {
			f(upper, lower, filepath.Join(base, upper, lower))
		}
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", base, err)
	}
	return nil
}

// copies lists the shifted copies.
func (l *lister) copies() error {
	return l.room.eachBelow(uses.Copies, func(mapping, id, path string) {
		i := disk.Item{
			Kind: disk.Shifted, ID: mapping + "/" + id, On: l.free(id), Shared: l.h.kept[id], Useless: l.h.layers[id] == nil,
			Label: cmp.Or(l.notes[uses.Copies][mapping+"."+id].Label, mapping) + " " + images.Short(id),
		}
		l.noted(uses.Copies, mapping+"."+id, i, path)
		l.items[len(l.items)-1].Project = l.notes[uses.Layers][id].Project
	})
}

// mounts lists the cache mounts.
func (l *lister) mounts() error {
	return l.room.eachBelow(uses.Mounts, func(key, number, path string) {
		l.noted(uses.Mounts, key+"."+number, disk.Item{Kind: disk.Mounts, ID: key + "/" + number}, path)
	})
}

// saveSizes writes down what was measured, so that nobody has to do it again, and removes notes of what is gone.
func (r *Room) saveSizes(ctx context.Context, sizes []measured, clean bool) error {
	if len(sizes) == 0 && !clean {
		return nil
	}
	return r.uses.WhileDeciding(ctx, func() error {
		oldest, err := r.uses.Oldest()
		for _, m := range sizes {
			err = errors.Join(err, r.uses.Save(m.Thing, func(n *uses.Entry) {
				n.Size, n.Measured, n.Linked = m.size.Bytes, true, len(m.size.Links) > 0
				// What a running build writes to changes on.
				n.Changing = n.Changing && m.Kind == uses.Mounts && !r.uses.LastUse(m.Thing).Before(oldest)
			}))
		}
		if clean {
			err = errors.Join(err, r.uses.Prune(oldest, r.isThere))
		}
		return err
	})
}

// isThere tells whether the thing that a note is of is there.
func (r *Room) isThere(t uses.Thing) bool {
	if t.Kind == uses.Layers || t.Kind == uses.Images {
		return r.library.Exists(t.Name)
	}
	parent, name, _ := strings.Cut(t.Name, ".")
	return fsys.Exists(filepath.Join(r.store.Paths().Own, string(t.Kind), parent, name))
}
