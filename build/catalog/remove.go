package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/session"
)

// RemoveRequest says which images are removed.
type RemoveRequest struct {
	// Images are names, IDs and digests. An image given by one of several names loses only that name.
	Images []string
	// All removes all images that List lists, Dangling those without a name; both only what passes the Filters.
	All, Dangling bool
	Filters       Filters
	// KeepParents leaves the images without a name that only a removed one was built on.
	KeepParents bool
	// Force removes an image given by its ID or digest even if it has several names, and ignores images that don't
	// exist.
	Force bool
	// Ignore ignores images that don't exist.
	Ignore bool
	// Done is called after each removal of a name or an image; nil: nothing is.
	Done func(Removed)
}

// Removed is a name that was taken away, or the ID of an image that was removed.
type Removed struct{ Name, ID string }

// Remove removes images with the layers that nothing else has, and what the cache has recorded of these layers. An
// image that can't be removed stays; the others are removed all the same.
func Remove(ctx context.Context, s *session.Session, req RemoveRequest) error {
	d, err := s.Existing(ctx)
	if err != nil {
		return err
	}
	if d == nil {
		return missing(req)
	}
	r := &remover{RemoveRequest: req, depot: d}
	if r.Done == nil {
		r.Done = func(Removed) {}
	}
	return s.Explain(r.remove(ctx))
}

// missing is the error for a request where there is no store; nil: the request needs no image to exist.
func missing(req RemoveRequest) error {
	if req.Force || req.Ignore || len(req.Images) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", req.Images[0], images.ErrNoImage)
}

type remover struct {
	RemoveRequest
	depot *depot.Depot
	// all are the images that have not been removed yet.
	all []images.Listed
}

func (r *remover) remove(ctx context.Context) (err error) {
	if r.all, err = r.depot.Images.List(); err != nil {
		return err
	}
	names := r.Images
	if r.All || r.Dangling {
		all := slices.Clone(r.all)
		// An index comes before its images, which could not go without it.
		slices.SortStableFunc(all, func(a, b images.Listed) int {
			return min(len(b.Instances), 1) - min(len(a.Instances), 1)
		})
		keep, err := r.Filters.bind(r.depot.Images, all)
		if err != nil {
			return err
		}
		for _, l := range all {
			// Images of an index have no names either, and it would be broken without them.
			dangling := l.Dangling() && !l.Intermediate && r.indexOf(l.ID) == nil
			if _, listed := keep(l); listed && !l.Cached && !l.ReadOnly && (r.All || dangling) {
				names = append(names, l.ID)
			}
		}
		r.Force = true
	}
	var errs []error
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := r.one(ctx, name)
		if (r.Force || r.Ignore) && errors.Is(err, images.ErrNoImage) {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, r.depot.Store.Parts().Durable.Settle())...)
}

// find is the index in the field all of the image with an ID; -1: it isn't there.
func (r *remover) find(id string) int {
	return slices.IndexFunc(r.all, func(l images.Listed) bool { return l.ID == id })
}

// one removes an image that the user has named, or only that name of it.
func (r *remover) one(ctx context.Context, name string) error {
	id, given, err := r.depot.Images.LookUp(name)
	if err != nil {
		return err
	}
	at := r.find(id)
	if at < 0 {
		return fmt.Errorf("%s: %w", name, images.ErrNoImage)
	}
	img := r.all[at]
	if slices.Contains(img.Names, given) && len(img.Names) > 1 {
		if err := r.depot.Images.Untag(ctx, id, []string{given}); err != nil {
			return err
		}
		r.all[at].Names = slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return n == given })
		r.Done(Removed{Name: given})
		return nil
	}
	if err := r.stays(name, img); err != nil {
		return err
	}
	if err := r.image(ctx, name, img); err != nil {
		return err
	}
	return r.instances(ctx, img)
}

// stays is the reason why an image can't be removed; nil: it can be.
func (r *remover) stays(name string, img images.Listed) error {
	switch {
	case img.ReadOnly:
		return fmt.Errorf("image %s stays: it is in another store, which this one only reads", name)
	case len(img.Containers) > 0:
		return fmt.Errorf("image %s stays: a container uses it\nhint: podman rm %s", name, strings.Join(img.Containers, " "))
	case len(img.Names) > 1 && !r.Force:
		return fmt.Errorf("image %s stays: it has the names %s\nhint: give one of them, or --force to remove it with all",
			name, strings.Join(img.Names, ", "))
	}
	if l := r.indexOf(img.ID); l != nil {
		index := images.Short(l.ID)
		if len(l.Names) > 0 {
			index = l.Names[0]
		}
		return fmt.Errorf("image %s stays: the index %s has it\nhint: cooper rmi %[2]s", name, index)
	}
	return nil
}

// indexOf is an index that has the image of an ID; nil: none has it.
func (r *remover) indexOf(id string) *images.Listed {
	at := slices.IndexFunc(r.all, func(l images.Listed) bool { return slices.Contains(l.Instances, id) })
	if at < 0 {
		return nil
	}
	return &r.all[at]
}

// image removes an image whatever names it has.
func (r *remover) image(ctx context.Context, name string, img images.Listed) error {
	err := reclaim.RemoveImage(ctx, r.depot, img.ID, img.Names)
	switch {
	case errors.Is(err, removal.ErrInUse), errors.Is(err, removal.ErrNamed):
		return fmt.Errorf("image %s stays: %w", name, err)
	case removal.Busy(err):
		return fmt.Errorf("image %s stays: a container uses it\nhint: podman ps --all --storage lists containers", name)
	case store.Unknown(err): // another tool has removed the image meanwhile
		return nil
	case err != nil:
		return err
	}
	r.all = slices.DeleteFunc(r.all, func(l images.Listed) bool { return l.ID == img.ID })
	for _, n := range img.Names {
		r.Done(Removed{Name: n})
	}
	r.Done(Removed{ID: img.ID})
	return r.parents(ctx, img)
}

// parents removes the images without a name that were steps only of img, which has been removed: other tools keep such
// an image for each step.
func (r *remover) parents(ctx context.Context, img images.Listed) error {
	if r.KeepParents {
		return nil
	}
	// The image of the last but one step is first in the list; its removal also removes the others.
	for _, l := range slices.Clone(r.all) {
		if !l.Intermediate || l.Cached || !img.BuiltOn(l) || r.find(l.ID) < 0 || r.stays(l.ID, l) != nil ||
			slices.ContainsFunc(r.all, func(other images.Listed) bool { return other.BuiltOn(l) }) {
			continue
		}
		if err := r.image(ctx, images.Short(l.ID), l); err != nil {
			return err
		}
	}
	return nil
}

// instances removes the images that only index, which has been removed, led to.
func (r *remover) instances(ctx context.Context, index images.Listed) error {
	var errs []error
	for _, id := range index.Instances {
		at := r.find(id)
		if at < 0 || !r.all[at].Dangling() || r.stays(id, r.all[at]) != nil {
			continue
		}
		errs = append(errs, r.image(ctx, images.Short(id), r.all[at]))
	}
	return errors.Join(errs...)
}
