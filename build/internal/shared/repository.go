package shared

import (
	"context"
	"fmt"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// repository is a place under a tag of a registry.
type repository struct {
	spec sharedcache.Spec
	room *Room
}

func (p repository) client() (*registry.Client, error) {
	o := p.room.Registry
	o.Insecure = o.Insecure || p.spec.Insecure
	return registry.NewClient(o)
}

func (p repository) open(ctx context.Context) (opened, error) {
	client, err := p.client()
	if err != nil {
		return opened{}, err
	}
	remote, err := client.Resolve(ctx, p.spec.Ref)
	if err != nil {
		client.Close()
		return opened{}, err
	}
	return opened{remote, remote.Root, client.Close}, nil
}

func (p repository) begin(ctx context.Context, o SaveOptions) (writer, error) {
	client, err := p.client()
	if err != nil {
		return nil, err
	}
	w := &pushing{client: client, shown: p.room.Shown.Begin("writing the cache to " + p.spec.Where())}
	w.Pusher, err = push.New(push.Options{
		Client: client, To: []reference.Reference{p.spec.Ref}, Codec: p.spec.Packing.Codec(), Keeper: o.Keep(p.spec.Packing),
		Cache: o.Records, Origins: o.Origins, Spool: p.room.Spool, Progress: w.shown.Transfer, Retries: o.Retries,
		Again: func(wait time.Duration, err error) {
			w.shown.Note(fmt.Sprintf("writing the cache to %s: once more in %s: %v", p.spec.Where(), wait, err))
		},
	})
	if err != nil {
		w.end(ctx, err)
		return nil, err
	}
	return w, nil
}

// pushing writes to a repository.
type pushing struct {
	*push.Pusher
	client *registry.Client
	shown  progress.Aside
}

func (w *pushing) layer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error) {
	return w.Layer(ctx, l)
}

func (w *pushing) blob(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	return w.Blob(ctx, d, from)
}

func (w *pushing) holds(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	return w.Holds(ctx, d)
}

func (w *pushing) put(ctx context.Context, a artifact) error {
	return w.Artifact(ctx, a.indexDescriptor(), a.index, a.descriptor(), a.manifest)
}

func (w *pushing) end(ctx context.Context, err error) {
	w.shown.End(ctx, err)
	w.client.Close()
}
