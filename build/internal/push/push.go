package push

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// maxSends is how many blobs are sent at the same time, maxSpooled how many layers are worked on: each may have
	// a file.
	maxSends   = 4
	maxSpooled = 8
)

// Finder knows which images had a blob when they were pulled.
type Finder interface {
	Origins(blob digest.Digest) ([]reference.Reference, error)
}

// Options say where images go, and how.
type Options struct {
	Client *registry.Client
	// To are the names that images get, each with a tag; at least one.
	To []reference.Reference
	// ByDigest says that manifests are pushed by digest, and no tag is set.
	ByDigest bool
	// Codec compresses the layers that Keeper has no blob of.
	Codec  export.Codec
	Keeper export.Keeper
	// Format is the format of all manifests; empty: each image keeps its own.
	Format imagebuilder.Format
	// Annotations are added to the manifests, the index and its entries.
	Annotations annotation.Set

	// Cache has records of which repositories have a blob.
	Cache   *cache.Cache
	Origins Finder
	// Spool makes an empty file without a name, for a compressed layer.
	Spool func() (*os.File, error)
	// Progress is called while a blob is sent, with the bytes done and in all, from several goroutines; nil: nothing is.
	Progress func(what string, done, total int64)
	// Retries say how often Send and Tag try again what has failed for a reason that may pass, beyond what is done for
	// each request. Again is called before that, with the pause and the error; nil: nothing is.
	Retries registry.Retries
	Again   func(wait time.Duration, err error)
}

// Pusher sends images to the places of its options. It is safe for concurrent use; each layer is sent once.
type Pusher struct {
	Options
	repos []*repository
	// packing bounds the threads that compress, sending the blobs that are sent at once (maxSends), spooled the layers
	// that are worked on at once (maxSpooled).
	packing, sending, spooled *semaphore.Weighted

	layers sentLayers
}

// repository is a repository that images are pushed to, with the names of Options.To in it.
type repository struct {
	*registry.Destination
	ref  reference.Reference
	tags []string
}

// sent is a layer that is being sent. Layer closes ready when it has set the other fields.
type sent struct {
	ready chan struct{}
	desc  ocispec.Descriptor
	err   error
}

// sentLayers are the layers that are being sent and those that were, by their diff IDs. It is safe for concurrent use.
type sentLayers struct {
	mu   sync.Mutex
	byID map[digest.Digest]*sent
}

// take gives the layer of a diff ID. The first who asks for it sends it, and is told so.
func (l *sentLayers) take(diffID digest.Digest) (s *sent, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s = l.byID[diffID]
	if first = s == nil; first {
		s = &sent{ready: make(chan struct{})}
		l.byID[diffID] = s
	}
	return s, first
}

// forgetFailed lets layers that could not be sent be sent anew.
func (l *sentLayers) forgetFailed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.byID, func(_ digest.Digest, s *sent) bool {
		select {
		case <-s.ready:
			return s.err != nil
		default:
			return false
		}
	})
}

// New makes a pusher. It sends no request.
func New(o Options) (*Pusher, error) {
	_, threads := o.Codec.Threads(0)
	p := &Pusher{Options: o, packing: semaphore.NewWeighted(int64(threads)),
		sending: semaphore.NewWeighted(maxSends),
		spooled: semaphore.NewWeighted(maxSpooled), layers: sentLayers{byID: map[digest.Digest]*sent{}}}
	if p.Progress == nil {
		p.Progress = func(string, int64, int64) {}
	}
	if p.Again == nil {
		p.Again = func(time.Duration, error) {}
	}
	known := map[reference.Reference]*repository{}
	for _, ref := range o.To {
		ref = ref.WithLatest()
		r := known[ref.Repository()]
		if r == nil {
			to, err := o.Client.Destination(ref)
			if err != nil {
				return nil, fmt.Errorf("push to %s: %w", ref, err)
			}
			r = &repository{Destination: to, ref: ref.Repository()}
			known[ref.Repository()] = r
			p.repos = append(p.repos, r)
		}
		r.tags = append(r.tags, ref.Tag)
	}
	if len(p.repos) == 0 {
		return nil, errors.New("push: there is no name to push to")
	}
	return p, nil
}

// Send brings all of an image, or of an index, into the registries, without a tag. What it returns describes the
// manifest or index; Tag gives it the names.
func (p *Pusher) Send(ctx context.Context, src Source) (sent *Sent, err error) {
	err = p.Retries.Do(ctx, func(wait time.Duration, err error) {
		p.Again(wait, err)
		p.layers.forgetFailed()
	}, func() error {
		sent, err = p.sendOnce(ctx, src)
		return err
	})
	return sent, err
}

func (p *Pusher) sendOnce(ctx context.Context, src Source) (*Sent, error) {
	if s, err := p.unchanged(ctx, src); s != nil || err != nil {
		return s, err
	}
	group, inner := errgroup.WithContext(ctx)
	for _, image := range src.Images {
		if err := image.Check(); err != nil {
			return nil, fmt.Errorf("push image: %w", err)
		}
		for _, l := range image.Layers {
			group.Go(guard.Func(func() error { _, err := p.Layer(inner, l); return err }))
		}
		group.Go(guard.Func(func() error { return p.config(inner, image) }))
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	all, err := p.manifests(src, func(l export.Blob) (ocispec.Descriptor, bool) {
		d, err := p.Layer(ctx, l)
		return d, err == nil
	})
	if err != nil {
		return nil, err
	}
	s := &Sent{pusher: p, root: all[len(all)-1]}
	for _, m := range all[:len(all)-1] {
		if err := p.put(ctx, m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// unchanged finds out whether all names lead to the image already. The result is nil if they don't, or if the manifest
// can't be made before the layers are compressed.
func (p *Pusher) unchanged(ctx context.Context, src Source) (*Sent, error) {
	all, err := p.manifests(src, p.known)
	if err != nil || all == nil {
		return nil, err
	}
	root := all[len(all)-1]
	for _, r := range p.repos {
		for _, name := range p.namesIn(r, root) {
			got, err := r.Manifest(ctx, name)
			if errors.Is(err, content.ErrNotFound) || err == nil && got != root.Digest {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("push to %s: %w", r.ref, err)
			}
		}
	}
	return &Sent{pusher: p, root: root, Unchanged: true}, nil
}

// namesIn are the tags that a manifest gets in a repository, or its digest if it gets none.
func (p *Pusher) namesIn(r *repository, m manifest) []string {
	if p.ByDigest {
		return []string{m.Digest.String()}
	}
	return r.tags
}

// put puts a manifest into all repositories, under its digest.
func (p *Pusher) put(ctx context.Context, m manifest) error {
	for _, r := range p.repos {
		if err := r.PutManifest(ctx, m.Digest.String(), m.Descriptor, m.text); err != nil {
			return fmt.Errorf("push manifest to %s: %w", r.ref, err)
		}
	}
	return nil
}

// Sent is what Send has brought into the registries.
type Sent struct {
	pusher *Pusher
	root   manifest
	// Unchanged says that all names led to the manifest or index before the push.
	Unchanged bool
}

// Manifest describes the manifest or index.
func (s *Sent) Manifest() ocispec.Descriptor { return s.root.Descriptor }

// Tag sets the names to the manifest or index.
func (s *Sent) Tag(ctx context.Context) error {
	if s.Unchanged {
		return nil
	}
	return s.pusher.Retries.Do(ctx, s.pusher.Again, func() error { return s.tagOnce(ctx) })
}

func (s *Sent) tagOnce(ctx context.Context) error {
	for _, r := range s.pusher.repos {
		for _, name := range s.pusher.namesIn(r, s.root) {
			if err := r.PutManifest(ctx, name, s.root.Descriptor, s.root.text); err != nil {
				return fmt.Errorf("push manifest %s to %s: %w", name, r.ref, err)
			}
		}
	}
	return nil
}
