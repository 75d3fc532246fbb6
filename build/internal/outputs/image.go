package outputs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Finish makes the images of the target stages, writes the outputs and records the images in the store.
func (b Room) Finish(ctx context.Context, targets []*plan.Stage, roots []*rootfs.Root, names []string) (Made, error) {
	all := make([]made, 0, len(targets))
	for _, target := range targets {
		m, err := b.makeImage(ctx, target, roots, names)
		if err != nil {
			return Made{}, err
		}
		all = append(all, m)
	}
	var res Made
	// An image gets its names with its record: until it has one, `podman image prune` takes it and its layers. And a name
	// never points at an image whose output failed.
	if err := b.writeOutputs(ctx, all, &res); err != nil {
		return Made{Printed: res.Printed}, errors.Join(err, b.putImages(ctx, all, nil, new(Made)))
	}
	if err := b.putImages(ctx, all, names, &res); err != nil {
		return Made{Printed: res.Printed}, err
	}
	b.noteNames(names)
	return res, nil
}

// putImages records images in the store, and their index if there are several. The result gets the ID, and the
// manifest's digest if it has none of an output.
func (b Room) putImages(ctx context.Context, all []made, names []string, res *Made) (err error) {
	var manifest digest.Digest
	for i := range all {
		m := &all[i]
		m.record.Keep = true
		if len(all) == 1 {
			m.record.Names = names
		}
		if m.id, manifest, err = b.Images.Put(ctx, m.record); err != nil {
			return err
		}
	}
	res.ID = digest.FromBytes(all[0].image.Config)
	if len(all) > 1 {
		if manifest, err = b.Images.PutIndex(ctx, b.indexOf(all, names)); err != nil {
			return err
		}
		res.ID = manifest
	}
	if res.Manifest == "" {
		res.Manifest = manifest
	}
	return nil
}

// noteNames shows the full names that the image has in the store from now on.
func (b Room) noteNames(names []string) {
	for _, name := range names {
		b.Progress.Emit(progress.Note{Text: "tagged " + name, Tagged: name})
	}
}

// makeImage makes the image of a target stage, with the names that it is to be written under.
func (b Room) makeImage(ctx context.Context, target *plan.Stage, roots []*rootfs.Root, names []string) (made, error) {
	root, history, err := b.finalRoot(ctx, target, roots)
	if err != nil {
		return made{}, err
	}
	image, history := b.labelled(target, history)
	if b.Inline != nil {
		if image.Cache, err = b.Inline(ctx, root.Layers()); err != nil {
			return made{}, err
		}
	}
	config, created, err := b.imageConfig(image, root, history)
	if err != nil {
		return made{}, err
	}
	if err := b.Roots.Bring(ctx, root); err != nil {
		return made{}, err
	}
	layers, annotations := storeLayers(root.Layers()), b.Image.annotations(target, created)
	m := made{
		image: export.Image{Config: config, Platform: target.Image.Platform, Names: names, Created: created,
			Annotations: annotations},
		record: images.Record{Config: config, Format: b.Format, Layers: layers, Created: created,
			Annotations: merged(annotations, b.Image.Annotations.Manifest(target.Image.Platform))},
		files: root,
	}
	if len(b.Specs) > 0 {
		m.image.Layers = BlobsOf(b.Layers, layers)
	}
	return m, nil
}

// WarnOfFormat warns of fields in the images' configs that other tools ignore in the format that the images get.
func (b Room) WarnOfFormat(targets []*plan.Stage) {
	if b.Format != imagebuilder.OCI {
		return
	}
	var all []string
	for _, target := range targets {
		for _, instruction := range target.Image.Config.DockerOnly() {
			if !slices.Contains(all, instruction) {
				all = append(all, instruction)
			}
		}
	}
	if len(all) > 0 {
		b.Progress.Emit(progress.Note{Text: fmt.Sprintf(
			"podman and buildah ignore %s in images of the OCI format, docker does not: "+
				"--format docker makes an image in which all see it", strings.Join(all, ", "))})
	}
}

func storeLayers(layers []cache.Layer) []store.Layer {
	var all []store.Layer
	for _, l := range layers {
		all = append(all, store.Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size})
	}
	return all
}

// imageConfig makes the config of an image with the layers of a root, and gives its creation time. If all steps come
// from the cache, the bytes are the same as before.
func (b Room) imageConfig(image imagebuilder.Image, final *rootfs.Root, history []imagebuilder.History) ([]byte,
	time.Time, error) {
	var diffIDs []digest.Digest
	for _, l := range final.Layers() {
		diffIDs = append(diffIDs, l.DiffID)
	}
	created := final.Created()
	if len(final.Layers()) == len(final.Base().Layers()) {
		// The build added no layer that has a time, so the time is that of the first build of this image.
		bare, err := image.MarshalConfig(diffIDs, time.Time{}, history)
		if err != nil {
			return nil, created, err
		}
		if created, err = b.firstMade(bare); err != nil {
			return nil, created, err
		}
	}

	for i := range history {
		if history[i].Created == nil {
			history[i].Created = &created
		}
	}
	config, err := image.MarshalConfig(diffIDs, created, history)
	return config, created, err
}

// firstMade gives the time at which an image without layers of its own was first built.
func (b Room) firstMade(config []byte) (time.Time, error) {
	now := time.Now().UTC()
	if made := b.Date.Record(now); !made.Equal(now) {
		return made, nil
	}
	key := cache.NewKey("image").Add("config", string(config)).Key()
	if rec := b.Cache.Get(key); rec != nil {
		return rec.Created, nil
	}
	return now, b.Cache.Put(key, cache.Record{Created: now, Step: "image config"})
}

// history gives the image's history: the entries of the base image, then one for each step. Entries before the first
// layer of the build have no time.
func (b Room) history(last *plan.Step, roots []*rootfs.Root) []imagebuilder.History {
	var steps []*plan.Step
	first := last
	for s := last; s != nil; s = s.Parent {
		if s.CreatedBy != "" {
			steps = append(steps, s)
		}
		first = s
	}

	slices.Reverse(steps)
	base := *first.Image
	history := baseHistory(base, len(roots[first.ID].Layers()))
	below := roots[first.ID]
	for _, s := range steps {
		r := roots[s.ID]
		entry := imagebuilder.History{CreatedBy: s.CreatedBy, Comment: s.Comment, EmptyLayer: true}
		if passedMerge(r, below) {
			keepLastLayer(history[len(baseHistory(base, len(below.Base().Layers()))):])
		}
		if r != below && r.Own() != nil {
			entry.EmptyLayer = false
		}
		if len(r.Layers()) > len(r.Base().Layers()) {
			created := r.Created()
			entry.Created = &created
		}
		history = append(history, entry)
		below = r
	}

	return history
}

// baseHistory gives the history of a base image, changed to have as many entries with layers as the image has layers.
func baseHistory(base imagebuilder.Image, layers int) []imagebuilder.History {
	told := 0
	for _, h := range base.History {
		if !h.EmptyLayer {
			told++
		}
	}
	history := slices.Clone(base.History)
	if told == layers {
		return history
	}
	history = nil
	for range layers {
		history = append(history, imagebuilder.History{Created: base.Created, Comment: "layer of an image without history"})
	}
	return history
}

// passedMerge tells whether the layers of the build were merged between two roots.
func passedMerge(r, below *rootfs.Root) bool {
	for ; r != nil && r != below; r = r.Below() {
		if r.Merged() {
			return true
		}
	}
	return false
}

// keepLastLayer marks all but the last layer in a part of the history as empty: a merged layer counts as that of the
// last of its steps.
func keepLastLayer(history []imagebuilder.History) {
	last := -1
	for i := range history {
		if !history[i].EmptyLayer {
			last = i
		}
	}
	for i := range history {
		history[i].EmptyLayer = i != last
	}
}

// Anchor records an image in the store for each stage not in except, and for each stack of layers that was merged, so
// that each layer which records of the cache name belongs to an image: the checks of other tools report layers without
// an image as damage. These images get names reserved for the cache, since a clean-up removes images without names.
func (b Room) Anchor(ctx context.Context, g *plan.Graph, roots []*rootfs.Root, except []*plan.Stage) error {
	held := map[string]bool{} // IDs of the layers of the images that were recorded so far
	for _, stage := range slices.Backward(g.Stages) {
		last := lastSealed(stage, roots)
		if last == nil {
			continue
		}

		r := roots[last.ID]
		if err := b.anchorMerged(ctx, r, stage); err != nil {
			return err
		}
		if slices.Contains(except, stage) || len(r.Layers()) == len(r.Base().Layers()) || held[r.Top()] {
			continue
		}

		config, created, err := b.imageConfig(*last.Image, roots[last.ID], b.history(last, roots))
		if err != nil {
			return err
		}

		record := images.Record{Config: config, Layers: storeLayers(r.Layers()), Created: created,
			Keep: !b.isParent(last, except, roots)}
		if _, _, err := b.Images.Put(ctx, record); err != nil {
			return err
		}
		for _, l := range r.Layers() {
			held[l.ID] = true
		}
	}

	return nil
}

// isParent tells whether other tools take the image after the step last for the parent of one of the stages' images,
// which has one instruction more. No clean-up removes a parent while its child has a name, and lists of images leave it
// out.
func (b Room) isParent(last *plan.Step, stages []*plan.Stage, roots []*rootfs.Root) bool {
	r := roots[last.ID]
	return slices.ContainsFunc(stages, func(s *plan.Stage) bool {
		above := roots[s.Last.ID]
		return slices.ContainsFunc(above.Layers(), func(l cache.Layer) bool { return l.ID == r.Top() }) &&
			len(b.history(s.Last, roots)) == len(b.history(last, roots))+1
	})
}

// anchorMerged records an image for the layers as they were before each merge.
func (b Room) anchorMerged(ctx context.Context, r *rootfs.Root, stage *plan.Stage) error {
	for ; r != nil; r = r.Below() {
		if !r.Merged() {
			continue
		}
		var diffIDs []digest.Digest
		for _, l := range r.Below().Layers() {
			diffIDs = append(diffIDs, l.DiffID)
		}
		config, err := stage.Image.MarshalConfig(diffIDs, r.Created(), nil)
		if err != nil {
			return err
		}
		record := images.Record{Config: config, Layers: storeLayers(r.Below().Layers()), Created: r.Created(), Keep: true}
		if _, _, err := b.Images.Put(ctx, record); err != nil {
			return err
		}
	}
	return nil
}

// lastSealed gives the last step of a stage whose root is sealed, and has all its layers in the store.
func lastSealed(stage *plan.Stage, roots []*rootfs.Root) *plan.Step {
	for s := stage.Last; s != nil && s.Stage == stage; s = s.Parent {
		if r := roots[s.ID]; r != nil && r.IsSealed() && r.IsPresent() {
			return s
		}
	}
	return nil
}
