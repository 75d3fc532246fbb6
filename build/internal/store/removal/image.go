package removal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// ErrInUse says that a running build may use an image.
var ErrInUse = errors.New("a build that runs now may use it")

// ErrNamed says that an image has got a name since somebody decided that it goes.
var ErrNamed = errors.New("it has got another name in the meantime")

// RemoveImage removes an image with the layers that nothing else has, and returns these. Other images, layers on them
// and containers keep what they have; the image of a container is a storage.ErrImageUsedByContainer, and one that a
// running build uses ErrInUse. One with a name that is not among the given ones is ErrNamed. The caller has
// LockRemoval's lock.
//
// As by Remove, what is decided is written down at once: an image that nobody knows holds the layers while they are
// removed, and they are marked, so that no build takes them any more.
func (r *Room) RemoveImage(ctx context.Context, id string, names []string) (gone []string, err error) {
	var going []string
	var holder string
	err = r.uses.WhileDeciding(ctx, func() (err error) {
		going, holder, err = r.giveUp(id, names)
		return err
	})
	if err != nil || holder == "" {
		return nil, err
	}
	// Another tool may have removed the holder: it takes an image without a name for useless.
	if _, err = r.library.DeleteImage(holder, true); store.Unknown(err) {
		err = nil
	}
	for _, l := range going {
		if !r.library.Exists(l) {
			gone = append(gone, l)
			err = errors.Join(err, r.uses.Forget(uses.Thing{Kind: uses.Layers, Name: l}))
		}
		err = errors.Join(err, r.uses.Absolve(l))
	}
	if len(gone) > 0 {
		err = errors.Join(err, r.uses.Remeasure(ctx))
	}
	return gone, err
}

// giveUp removes an image, and has another one hold the layers that are to go with it; "": there are none. It is called
// within WhileDeciding.
func (r *Room) giveUp(id string, names []string) (going []string, holder string, err error) {
	img, err := r.library.Image(id)
	if err != nil {
		return nil, "", fmt.Errorf("remove image: %w", err)
	}
	if slices.ContainsFunc(images.GivenNames(img), func(n string) bool { return !slices.Contains(names, n) }) {
		return nil, "", ErrNamed
	}
	if going, err = r.library.DeleteImage(id, false); err != nil {
		return nil, "", fmt.Errorf("remove image: %w", err)
	}
	oldest, err := r.uses.Oldest()
	if err != nil {
		return nil, "", err
	}
	if slices.ContainsFunc(going, func(l string) bool {
		return !r.uses.LastUse(uses.Thing{Kind: uses.Layers, Name: l}).Before(oldest)
	}) {
		return nil, "", ErrInUse
	}
	if len(going) > 0 {
		if holder, err = r.images.PutHolder(img.TopLayer); err != nil {
			return nil, "", fmt.Errorf("remove image: %w", err)
		}
		if err := r.uses.Condemn(going); err != nil {
			return nil, "", err
		}
	}
	if _, err := r.library.DeleteImage(id, true); err != nil {
		if holder != "" {
			_, undo := r.library.DeleteImage(holder, true)
			err = errors.Join(err, undo)
		}
		for _, l := range going {
			err = errors.Join(err, r.uses.Absolve(l))
		}
		return nil, "", fmt.Errorf("remove image: %w", err)
	}
	return going, holder, r.uses.Forget(uses.Thing{Kind: uses.Images, Name: id})
}

// Busy tells whether the error is that of an image that a container uses.
func Busy(err error) bool { return errors.Is(err, storage.ErrImageUsedByContainer) }
