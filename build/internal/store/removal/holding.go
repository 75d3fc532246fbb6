package removal

import (
	"fmt"
	"slices"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// holding is what the store's records say: which layers there are, and what holds them.
type holding struct {
	layers map[string]*storage.Layer // all layers of the store, by ID
	// stay are the images that cooper leaves alone, own those that are cooper's own; both in the order of their creation.
	stay, own []storage.Image
	// kept are the layers that stay: those of images that stay, of containers, those that others have made, and all below
	// them.
	kept map[string]bool
	// tops counts, by a layer's ID, the images whose top layer it is; children counts the layers directly on it.
	tops, children map[string]int
}

// holding reads the records.
func (r *Room) holding() (*holding, error) {
	layers, err := r.library.Layers()
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}

	all, err := r.library.Images()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}

	containers, err := r.library.Containers()
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}

	h := &holding{layers: map[string]*storage.Layer{}, kept: map[string]bool{}, tops: map[string]int{},
		children: map[string]int{}}
	for i := range layers {
		h.layers[layers[i].ID] = &layers[i]
		h.children[layers[i].Parent]++
	}

	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageID] = true
		h.keep(c.LayerID)
	}

	r.sortImages(h, all, used)
	ours := map[string]bool{}
	for _, img := range h.own {
		for id := img.TopLayer; id != "" && h.layers[id] != nil && !ours[id]; id = h.layers[id].Parent {
			ours[id] = true
		}
	}

	for id, l := range h.layers {
		if h.kept[id] {
			continue
		}
		if l.ReadOnly || !ours[id] && !r.uses.Read(uses.Thing{Kind: uses.Layers, Name: id}).Made {
			h.keep(id)
		}
	}

	return h, nil
}

// sortImages tells images that stay from cooper's own and keeps the layers of those that stay.
func (r *Room) sortImages(h *holding, all []storage.Image, used map[string]bool) {
	stays := func(img storage.Image) bool {
		return len(images.GivenNames(&img)) > 0 || img.ReadOnly || !images.Own(&img) || used[img.ID]
	}
	for _, img := range all {
		if img.TopLayer == "" && stays(img) {
			for _, id := range r.images.Instances(img) {
				used[id] = true
			}
		}
	}

	for _, img := range all {
		for _, top := range append(slices.Clone(img.MappedTopLayers), img.TopLayer) {
			if top != "" {
				h.tops[top]++
			}
		}
		if !stays(img) {
			h.own = append(h.own, img)
			continue
		}
		h.stay = append(h.stay, img)
		h.keep(img.TopLayer)
		for _, top := range img.MappedTopLayers {
			h.keep(top)
		}
	}
}

// keep keeps a layer and all below it.
func (h *holding) keep(id string) {
	for ; id != "" && h.layers[id] != nil && !h.kept[id]; id = h.layers[id].Parent {
		h.kept[id] = true
	}
}
