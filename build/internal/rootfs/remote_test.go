package rootfs_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/plan"
)

// remote is a shared cache with the records and layers of another machine's build.
type remote struct {
	far *roottest.Build
	// near is the build that asks.
	near *roottest.Build

	mu sync.Mutex
	// asked counts how often somebody looked for a shape or a record, brought is each chain that was to come.
	asked   int
	brought [][]cache.Layer
	// change, if it is not nil, changes a record that is found.
	change func(*cache.Record)
	// instead, if it is not nil, is called in place of bringing anything.
	instead func(ctx context.Context) error
}

var _ rootfs.Shared = (*remote)(nil)

// newRemote makes the other machine. Nothing asks the cache yet.
func newRemote(t *testing.T, in store.Options) *remote {
	t.Helper()
	return &remote{far: roottest.New(t, in, rootfs.Options{})}
}

// asks begins a build in an empty store that asks the cache.
func (c *remote) asks(t *testing.T, in store.Options, o rootfs.Options) *roottest.Build {
	t.Helper()
	o.Shared = c
	c.near = roottest.New(t, in, o)
	return c.near
}

func (c *remote) Seen(_ context.Context, shape cache.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.far.Cache.Seen(shape)
}

func (c *remote) Find(_ context.Context, key cache.Key) *cache.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	rec := c.far.Cache.Get(key)
	if rec == nil {
		return nil
	}
	if rec.Layer != nil {
		rec.Layer.ID, rec.Layer.Parent = "", ""
	}
	if c.change != nil {
		c.change(rec)
	}
	return rec
}

func (c *remote) Bring(ctx context.Context, layers []cache.Layer) error {
	c.mu.Lock()
	c.brought = append(c.brought, layers)
	instead := c.instead
	c.mu.Unlock()
	if instead != nil {
		return instead(ctx)
	}
	var diffIDs []digest.Digest
	var blobs []ocispec.Descriptor
	src := archives{c.far.Depot.Store, map[digest.Digest]string{}}
	for _, l := range layers {
		diffIDs, src.ids[l.DiffID] = append(diffIDs, l.DiffID), l.ID
		blobs = append(blobs, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size})
	}
	return c.near.Depot.Pull.Layers(ctx, src, diffIDs, blobs, pull.CopyOptions{Progress: func(string, int64, int64) {}})
}

// comings is how often layers were to come.
func (c *remote) comings() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.brought)
}

// archives give the layers of a store, by their digests, as they are.
type archives struct {
	from *store.Store
	ids  map[digest.Digest]string
}

func (a archives) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	l, err := a.from.Layer(a.ids[d.Digest])
	if err != nil {
		return nil, err
	}
	return a.from.LayerTar(l)
}

// sharing has a test done with each kind of driver, with a cache that another machine has filled by the steps of chain.
func sharing(t *testing.T, test func(t *testing.T, in store.Options, c *remote)) {
	t.Helper()
	for name, in := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newRemote(t, in)
			chain(t, c.far)
			test(t, in, c)
		})
	}
}

// chain has two steps done, and tells how many of them were cached.
func chain(t *testing.T, b *roottest.Build) (r *rootfs.Root, cached int) {
	t.Helper()
	r = rootfs.Scratch()
	for _, s := range []*roottest.Step{roottest.Files("one", "a=1"), roottest.Files("two", "b=2")} {
		var had bool
		if r, had = b.Do(t, r, s); had {
			cached++
		}
	}
	return r, cached
}

// needs are what makes the layers of a root come.
func needs() map[string]func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error {
	return map[string]func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error{
		"the image": func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error { return b.Bring(ctx, r) },
		"a view": func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error {
			v, err := b.View(ctx, r, rootfs.NS{})
			if err != nil {
				return err
			}
			return v.Release()
		},
		"a step": func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error {
			_, _, err := b.Make(ctx, &plan.Step{}, r, roottest.Files("next", "c=3"))
			return errors.Join(err, b.Wait())
		},
		"a linked step": func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error {
			_, _, err := b.Make(ctx, &plan.Step{}, r, linked("next", "c=3"))
			return errors.Join(err, b.Wait())
		},
		"a command by hand": func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error {
			staged, err := b.Stage(ctx, &plan.Step{}, r)
			if err != nil {
				return err
			}
			return staged.Snap.Remove()
		},
		"a squash": func(ctx context.Context, b *roottest.Build, r *rootfs.Root) error {
			_, err := b.Squash(ctx, r, false)
			return err
		},
	}
}

// promises is a shared cache that has every step, and nothing of them.
type promises struct {
	wanted int
	err    error
}

func (promises) Seen(context.Context, cache.Key) bool { return true }

func (promises) Find(_ context.Context, key cache.Key) *cache.Record {
	d := digest.FromString(string(key))
	return &cache.Record{Content: d, Created: time.Now(), Layer: &cache.Layer{DiffID: d, Size: 1}}
}

func (p *promises) Bring(_ context.Context, layers []cache.Layer) error {
	p.wanted = len(layers)
	return p.err
}

// mustKey is the key of a step of this name.
func mustKey(t *testing.T, name string, below cache.ContentID) cache.Key {
	t.Helper()
	key, err := roottest.Files(name).Keys()[0](t.Context(), below)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
