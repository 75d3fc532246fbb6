package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
)

// with calls do with the store of the session. If there is no store, the error says that no image has the name.
func with(ctx context.Context, s *session.Session, name string, do func(*depot.Depot) error) error {
	d, err := s.Existing(ctx)
	if err != nil {
		return err
	}
	if d == nil {
		return fmt.Errorf("%s: %w", name, images.ErrNoImage)
	}
	return s.Explain(do(d))
}

// Tag gives an image names. An image that had one of them before loses it.
func Tag(ctx context.Context, s *session.Session, image string, names []string) error {
	full := make([]string, 0, len(names))
	for _, n := range names {
		name, err := images.NormalizeName(n)
		if err != nil {
			return err
		}
		full = append(full, name)
	}
	return with(ctx, s, image, func(d *depot.Depot) error {
		id, _, err := d.Images.LookUp(image)
		if err != nil {
			return err
		}
		if err := d.Images.Tag(ctx, id, full); err != nil {
			return err
		}
		return d.Store.Parts().Durable.Settle()
	})
}

// Untag removes names of an image; without names, it removes all. The image stays in the store.
func Untag(ctx context.Context, s *session.Session, image string, names []string) error {
	return with(ctx, s, image, func(d *depot.Depot) error {
		id, _, err := d.Images.LookUp(image)
		if err != nil {
			return err
		}
		all, err := d.Images.List()
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(l images.Listed) bool { return l.ID == id })
		if at < 0 {
			return fmt.Errorf("%s: %w", image, images.ErrNoImage)
		}
		full := all[at].Names
		if len(names) > 0 {
			if full, err = namesOf(d.Images, all[at], names); err != nil {
				return err
			}
		}
		if err := d.Images.Untag(ctx, id, full); err != nil {
			return err
		}
		return d.Store.Parts().Durable.Settle()
	})
}

// namesOf are the full names of the image that names, which may be short, stand for.
func namesOf(by lookUp, of images.Listed, names []string) (full []string, err error) {
	for _, n := range names {
		name, err := images.NormalizeName(n)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(of.Names, name) {
			id, given, err := by.LookUp(n)
			if err != nil || id != of.ID || given == "" {
				return nil, fmt.Errorf("%s is no name of image %s", n, images.Short(of.ID))
			}
			name = given
		}
		full = append(full, name)
	}
	return full, nil
}

// ErrNoImage is behind errors that say that the store has no image of a name.
var ErrNoImage = images.ErrNoImage

// Names are all names of the images of the session's store, sorted. It needs no user namespace and opens no store; what
// is being written at the moment may be missing.
func Names(s *session.Session) ([]string, error) {
	peeker, err := s.Peek()
	if err != nil {
		return nil, err
	}
	return peeker.Names()
}

// Has tells whether the session's store has an image of a name, ID or digest.
func Has(ctx context.Context, s *session.Session, name string) (bool, error) {
	d, err := s.Existing(ctx)
	if err != nil || d == nil {
		return false, err
	}
	_, _, err = d.Images.LookUp(name)
	if errors.Is(err, images.ErrNoImage) {
		return false, nil
	}
	return err == nil, s.Explain(err)
}
