package shared

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/shared/index"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// loadPatience is how long the index of a place may take, and with it every step that could be in there.
	loadPatience = 20 * time.Second
	// bringPatience and leastRate, in bytes a second, say how long blobs may take before the steps are run instead.
	bringPatience = 30 * time.Second
	leastRate     = 1 << 20
)

// Options say which places there are, and how to reach them.
type Options struct {
	// From are the places that are read, the first that has a record is asked; To are those that are written to.
	From, To []sharedcache.Spec
	// Key signs what is written, which needs a private one, and only what it has signed is read; nil: nothing is signed.
	Key      *sharedcache.Key
	Registry registry.Options
	// Pull puts the layers of a chain that the store lacks into it; see pull.Room.Layers.
	Pull func(ctx context.Context, src content.Fetcher, diffIDs []digest.Digest, blobs []ocispec.Descriptor,
		told func(what string, done, total int64)) error
	// Spool makes an empty file without a name.
	Spool func() (*os.File, error)
	// Nested says that this process is root of a user namespace, who can't set all attributes of files.
	Nested   bool
	Progress progress.Sink
	Shown    progress.Asides
	// Patience replaces the constants [loadPatience] and [bringPatience]; 0: these are used.
	Patience time.Duration
}

// Room finds results of steps in the places of one build, and writes them there. It is safe for concurrent use; the
// caller calls Close.
type Room struct {
	Options
	sources []*source
	stop    context.CancelFunc

	mounts *Mounts
}

var (
	_ rootfs.Shared   = (*Room)(nil)
	_ content.Fetcher = (*Room)(nil)
)

// source is a place that is read.
type source struct {
	spec sharedcache.Spec
	// ready is closed when the fields below are set.
	ready  chan struct{}
	opened opened
	shapes map[cache.Key]bool
	blobs  map[digest.Digest]index.Layer // by diff ID

	mu sync.Mutex
	// index is what the place knows; nil: nothing, or the place is not used any more.
	index *index.Index
}

// New makes the room of a build, and begins to read the places. It is nil if there are none.
func New(ctx context.Context, o Options) *Room {
	if len(o.From) == 0 && len(o.To) == 0 {
		return nil
	}
	r := &Room{Options: o}
	r.mounts = &Mounts{room: r}
	ctx, r.stop = context.WithCancel(ctx)
	for _, spec := range o.From {
		s := &source{spec: spec, ready: make(chan struct{})}
		r.sources = append(r.sources, s)
		go func() {
			defer close(s.ready)
			if err := guard.Call(func() error { return r.load(ctx, s) }); err != nil && ctx.Err() == nil {
				r.Progress.Emit(progress.Note{Text: fmt.Sprintf("cache %s: %v: steps are not looked up there", spec.Where(), err)})
			}
		}()
	}
	return r
}

// Reader is what the steps of a build are looked up in; nil if nothing is read.
func (r *Room) Reader() rootfs.Shared {
	if r == nil || len(r.sources) == 0 {
		return nil
	}
	return r
}

// Mounts are the cache mounts of the places and of the build.
func (r *Room) Mounts() *Mounts {
	if r == nil {
		return nil
	}
	return r.mounts
}

// Close waits until nothing is read any more.
func (r *Room) Close() {
	if r == nil {
		return
	}
	r.stop()
	for _, s := range r.sources {
		<-s.ready
		if s.opened.close != nil {
			s.opened.close()
		}
	}
}

func (r *Room) patience(usual time.Duration) time.Duration {
	if r.Patience > 0 {
		return r.Patience
	}
	return usual
}

// load reads the index of a place. A place that holds nothing yet is no error.
func (r *Room) load(ctx context.Context, s *source) error {
	patience := r.patience(cmp.Or(s.spec.Patience, loadPatience))
	inner, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it takes longer than %s", patience))
	defer cancel()
	from, x, err := r.read(inner, r.at(s.spec))
	if errors.Is(err, content.ErrNotFound) {
		r.Progress.Emit(progress.Note{Text: "cache " + s.spec.Where() + ": there is nothing yet"})
		return nil
	}
	if err != nil {
		if inner.Err() != nil {
			err = context.Cause(inner)
		}
		return err
	}
	s.opened, s.shapes, s.blobs = from, map[cache.Key]bool{}, map[digest.Digest]index.Layer{}
	for _, rec := range x.Records {
		s.shapes[rec.Shape] = true
		if rec.Layer != nil {
			s.blobs[rec.Layer.DiffID] = *rec.Layer
		}
	}
	s.index = x
	return nil
}

// read opens a place and reads its index. The caller closes what it returns.
func (r *Room) read(ctx context.Context, p place) (opened, *index.Index, error) {
	from, err := p.open(ctx)
	if err != nil {
		return opened{}, nil, err
	}
	x, err := readArtifact(ctx, from, from.root, r.Key)
	if err != nil {
		from.close()
		return opened{}, nil, err
	}
	return from, x, nil
}

// each calls f with the places that have an index, in order, until f returns true or the context ends.
func (r *Room) each(ctx context.Context, f func(s *source, x *index.Index) bool) {
	for _, s := range r.sources {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		x := s.index
		s.mu.Unlock()
		if x != nil && f(s, x) {
			return
		}
	}
}

// Seen is that of [rootfs.Shared].
func (r *Room) Seen(ctx context.Context, shape cache.Key) (seen bool) {
	r.each(ctx, func(s *source, _ *index.Index) bool {
		seen = s.shapes[shape]
		return seen
	})
	return seen
}

// Find is that of [rootfs.Shared].
func (r *Room) Find(ctx context.Context, key cache.Key) *cache.Record {
	found, from := r.findIn(ctx, key)
	if found == nil {
		return nil
	}
	rec := found.Cached()
	rec.From = from
	return rec
}

// findIn gives the record under a key, and the place that has it.
func (r *Room) findIn(ctx context.Context, key cache.Key) (found *index.Record, from string) {
	r.each(ctx, func(s *source, x *index.Index) bool {
		rec, ok := x.Records[key]
		if ok {
			found, from = &rec, s.spec.Where()
		}
		return ok
	})
	return found, from
}

// Near gives the recipe of the step that is nearest to one: the last of its shape or, if there is none, one whose text
// is the same or begins in the same way. From names the place; nil: there is none.
func (r *Room) Near(ctx context.Context, shape cache.Key, text string) (recipe *cache.Recipe, from string) {
	if r == nil {
		return nil, ""
	}
	r.each(ctx, func(s *source, x *index.Index) bool {
		if found := x.Near(shape, text); found != nil {
			recipe, from = cache.UnpackRecipe(found.Recipe), s.spec.Where()
		}
		return recipe != nil
	})
	return recipe, from
}

// Bring is that of [rootfs.Shared].
func (r *Room) Bring(ctx context.Context, layers []cache.Layer) error {
	var diffIDs []digest.Digest
	var blobs []ocispec.Descriptor
	used, size := map[*source]bool{}, int64(0)
	for _, l := range layers {
		var blob ocispec.Descriptor
		r.each(ctx, func(s *source, _ *index.Index) bool {
			offer, ok := s.blobs[l.DiffID]
			if ok {
				used[s], blob = true, offer.Blob
				size += blob.Size
			}
			return ok
		})
		diffIDs, blobs = append(diffIDs, l.DiffID), append(blobs, blob)
	}
	patience := r.patience(bringPatience) + time.Duration(size/leastRate)*time.Second
	inner, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it takes longer than %s", patience))
	defer cancel()
	shown := r.Shown.Begin("fetching layers from the cache")
	err := r.Pull(inner, r, diffIDs, blobs, shown.Transfer)
	if err != nil && inner.Err() != nil {
		err = context.Cause(inner)
	}
	shown.End(ctx, err)
	if err != nil && ctx.Err() == nil {
		for s := range used {
			r.giveUp(s, err)
		}
	}
	return err
}

// giveUp has a place not used any more, because of an error.
func (r *Room) giveUp(s *source, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index != nil {
		s.index = nil
		r.Progress.Emit(progress.Note{Text: fmt.Sprintf("cache %s: %v: it is not used any more", s.spec.Where(), err)})
	}
}

// Fetch opens a blob at the place that has it.
func (r *Room) Fetch(ctx context.Context, d ocispec.Descriptor) (rc io.ReadCloser, err error) {
	err = fmt.Errorf("no cache has the blob %q: %w", d.Digest, content.ErrNotFound)
	r.each(ctx, func(s *source, _ *index.Index) bool {
		for _, offer := range s.blobs {
			if offer.Blob.Digest == d.Digest {
				rc, err = s.opened.Fetch(ctx, d)
				return true
			}
		}
		return false
	})
	return rc, err
}
