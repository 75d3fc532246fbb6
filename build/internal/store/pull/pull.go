package pull

import (
	"context"
	"os"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/userns"
)

// Room brings images into one store.
type Room struct {
	store   *store.Store
	library *library.Library
	images  *images.Room
}

// New gives the room that brings images into a store.
func New(s *store.Store, i *images.Room) *Room {
	return &Room{store: s, library: library.Of(s.Parts().Library), images: i}
}

// Options say how to reach a registry.
type Options struct {
	Platform ocispec.Platform
	// Registry says how registries are reached.
	Registry registry.Options
	// Retries say how often a pull that failed for a reason that may pass is begun anew. Again is called before that, with
	// the pause and the error; it may be nil.
	Retries registry.Retries
	Again   func(wait time.Duration, err error)
	// Mapping is the user namespace the image is unpacked in: IDs beyond it are reported all at once as *MissingIDs.
	Mapping *userns.Mapping
	// Progress is told what is being pulled, and how many of how many bytes have come; may be nil. It is called from
	// several goroutines.
	Progress func(what string, done, total int64)
	// Keep is given each blob of a layer that was fetched and verified, and changes neither the file nor its offset; may
	// be nil. It is called from several goroutines.
	Keep func(ctx context.Context, d ocispec.Descriptor, f *os.File)
}

// Pull fetches an image into the store and returns it. A short name is resolved as registries.conf says, and to
// docker.io where it says nothing.
func (r *Room) Pull(ctx context.Context, name string, o Options) (images.Found, error) {
	var found images.Found
	err := r.tryNames(ctx, name, o, func(client *registry.Client, ref reference.Reference) (err error) {
		found, err = r.pullOne(ctx, client, ref, o)
		return err
	})
	return found, err
}

func (o Options) again(wait time.Duration, err error) {
	if o.Again != nil {
		o.Again(wait, err)
	}
}

func (r *Room) pullOne(ctx context.Context, client *registry.Client, ref reference.Reference,
	o Options) (images.Found, error) {
	remote, err := client.Resolve(ctx, ref)
	if err != nil {
		return images.Found{}, err
	}
	return r.Copy(ctx, remote, remote.Root, CopyOptions{Platform: o.Platform, Name: ref.String(), Mapping: o.Mapping,
		Progress: o.Progress, Keep: o.Keep})
}
