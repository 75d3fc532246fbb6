package working

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/sourcedate"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// Image says what becomes of a container.
type Image struct {
	// Names are full names that the image gets in the store.
	Names []string
	// Squash makes one layer of all, those of the base image too.
	Squash bool
	// Format is that of the manifest; empty: the one that the container was made with.
	Format imagebuilder.Format
	// OmitHistory makes an image without a history.
	OmitHistory bool
	// UnsetEnv names variables that the image hasn't got, Labels are those that it has besides the container's.
	UnsetEnv []string
	Labels   map[string]string
	// Annotations are those of the manifest besides the container's.
	Annotations map[string]string
}

// Committed is an image that was made.
type Committed struct {
	// ID is the digest of its config, and Manifest that of its manifest in the store.
	ID, Manifest digest.Digest
}

// Commit makes an image of the container, which stays as it is. What the container has on its image becomes one layer,
// as all of a build's layers do that are squashed.
func (c *Container) Commit(ctx context.Context, o Options, img Image) (_ Committed, err error) {
	defer func() { err = c.session.Explain(err) }()
	e, err := c.engine(ctx, o)
	if err != nil {
		return Committed{}, err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	root, err := e.whole(ctx)
	if err != nil {
		return Committed{}, err
	}
	target, roots, err := e.planned(root, img)
	if err != nil {
		return Committed{}, err
	}
	made, err := e.outputs(img).Finish(ctx, []*plan.Stage{target}, roots, img.Names)
	if err != nil {
		return Committed{}, err
	}
	return Committed{ID: made.ID, Manifest: made.Manifest}, e.depot.Store.Parts().Durable.Settle()
}

// whole is the root file system of the container, with one layer for all that it has on its image.
func (e *engine) whole(ctx context.Context) (*rootfs.Root, error) {
	root, err := e.seal(ctx)
	if err != nil {
		return nil, err
	}
	if e.options.Date != nil && root == e.below { // the layers have been made without that date
		return e.roots.Dated(ctx, root)
	}
	return e.roots.Squash(ctx, root, false)
}

// ParseDate reads the time of all files and records, and the latest that they have; empty: neither is said. The
// variable SOURCE_DATE_EPOCH stands for the latter.
func ParseDate(timestamp, latest string) (*layer.Date, error) {
	if timestamp != "" {
		t, err := sourcedate.ParseTimestamp(timestamp)
		if err != nil {
			return nil, fmt.Errorf("--timestamp %w", err)
		}
		return sourcedate.Asked{Timestamp: &t}.Date("")
	}
	t, err := sourcedate.Parse(cmp.Or(latest, os.Getenv(sourcedate.Arg)))
	if err != nil {
		return nil, err
	}
	return sourcedate.Asked{SourceDate: t}.Date("")
}

// outputs is the room that records the image.
func (e *engine) outputs(img Image) outputs.Room {
	o := outputs.Options{
		Images: e.depot.Images, Layers: e.depot.Store, Cache: e.cache, Roots: e.roots, Date: e.options.Date,
		Format: img.Format, Progress: e.to,
		Image: outputs.ImageOptions{OmitHistory: img.OmitHistory},
	}
	if o.Format == "" {
		o.Format = e.State.ImageFormat()
	}
	if img.Squash {
		o.Image.Squash = outputs.SquashAll
	}
	all := maps.Clone(e.State.Annotations)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, img.Annotations)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		o.Image.Annotations = append(o.Image.Annotations,
			annotation.Annotation{Place: annotation.Manifest, Key: key, Value: all[key]})
	}
	return outputs.New(o)
}

// planned tells of the container as of a stage: its base, and steps for the entries of its history. Only the one of the
// layer adds to the root.
func (e *engine) planned(root *rootfs.Root, img Image) (*plan.Stage, []*rootfs.Root, error) {
	base, err := e.State.BaseImage()
	if err != nil {
		return nil, nil, err
	}
	image := e.State.Image.WithoutEnv(img.UnsetEnv).WithLabels(img.Labels)
	target := &plan.Stage{Image: image}
	first := &plan.Step{Stage: target, Op: &plan.Base{Ref: e.State.FromImage}, Image: &base,
		Text: "FROM " + e.State.FromImage}
	roots, last := []*rootfs.Root{e.base}, first
	add := func(root *rootfs.Root, h imagebuilder.History) {
		last = &plan.Step{ID: len(roots), Stage: target, Parent: last, Op: &plan.Config{}, Image: &image,
			CreatedBy: h.CreatedBy, Comment: h.Comment, Text: h.CreatedBy}
		roots = append(roots, root)
	}
	for _, h := range e.State.Prepended {
		add(e.base, h)
	}
	add(root, imagebuilder.History{CreatedBy: e.State.MadeBy(), Comment: e.State.HistoryComment})
	for _, h := range e.State.Appended {
		add(root, h)
	}
	target.Last = last
	return target, roots, nil
}
