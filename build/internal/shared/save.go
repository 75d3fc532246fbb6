package shared

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/internal/shared/index"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// maxTries is how often an artifact is written because others replace it.
	maxTries = 10
	// maxPacking is how many layers are brought to a place at the same time.
	maxPacking = 4
	// The pause before it is looked whether another writer has replaced an artifact is four times as long as it took to
	// replace that, between these limits: a writer that had read the one before is done by then.
	leastPause, longestPause = 50 * time.Millisecond, 2 * time.Second
)

// A Met is a step that a build has met in the store's cache, or has put there.
type Met struct {
	// Shape and Key are the keys of the step's shape and of its record.
	Shape, Key cache.Key
	// Side tells that the image doesn't stand on the step: it belongs to another stage.
	Side bool
}

// SaveOptions say what is written to the places.
type SaveOptions struct {
	Met []Met
	// Records is the store's own cache.
	Records *cache.Cache
	// Layer gives a layer of the store as it leaves it; false: the store has not got it.
	Layer func(l cache.Layer) (export.Blob, bool)
	// Keep has compressed layers.
	Keep    func(spec export.Spec) export.Keeper
	Origins push.Finder
	Retries registry.Retries
	// OpenMount opens a cache mount of the store; see uses.Ledger.
	OpenMount func(ctx context.Context, key, number, label string) (dir string, lock *os.File, err error)
	// Mounts are cache mounts besides those that the build has used.
	Mounts []Mount
	// Secrets are values that no file of a cache mount may have in it.
	Secrets [][]byte
}

// Save adds records of what a build has met to all places of Options.To.
func (r *Room) Save(ctx context.Context, o SaveOptions) error {
	if r == nil {
		return nil
	}
	if r.Key != nil && !r.Key.Signs() && len(r.To) > 0 {
		return errors.New("write the cache: --cache-key names a public key, and only the private one signs")
	}
	for _, spec := range r.To {
		if spec.Type == sharedcache.Inline {
			continue // the image has it
		}
		err := r.saveTo(ctx, spec, o)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !spec.IgnoreError {
			return fmt.Errorf("write the cache to %s: %w", spec.Where(), err)
		}
		r.Progress.Emit(progress.Note{Text: fmt.Sprintf("the cache was not written to %s: %v", spec.Where(), err)})
	}
	return nil
}

func (r *Room) saveTo(ctx context.Context, spec sharedcache.Spec, o SaveOptions) (err error) {
	where := r.at(spec)
	to, err := where.begin(ctx, o)
	if err != nil {
		return err
	}
	defer func() { to.end(ctx, err) }()
	mine, err := r.collect(ctx, spec, to, o)
	if err != nil {
		return err
	}
	m := merging{spec, where, to}
	if mine.Mounts, err = r.mounts.save(ctx, m, o); err != nil {
		return err
	}
	return r.merge(ctx, m, mine)
}

// merging is a place that is written to.
type merging struct {
	spec  sharedcache.Spec
	where place
	to    writer
}

// collect brings the layers that were met to a place, and gives the index of the records.
func (r *Room) collect(ctx context.Context, spec sharedcache.Spec, to writer, o SaveOptions) (*index.Index, error) {
	var mu sync.Mutex
	mine := &index.Index{Version: index.Version, Records: map[cache.Key]index.Record{}}
	blobs := map[digest.Digest]*ocispec.Descriptor{}
	now := time.Now().UTC().Truncate(time.Second)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(maxPacking)
	met := map[cache.Key]Met{}
	for _, m := range o.Met {
		if !spec.Min || !m.Side {
			met[m.Key] = m
		}
	}
	wanted := map[digest.Digest][]cache.Key{}
	for key, m := range met {
		rec := r.recordOf(ctx, o.Records, key)
		if rec == nil {
			continue // it was removed meanwhile
		}
		one := index.Record{Shape: m.Shape, Content: rec.Content, Created: rec.Created, Took: rec.Took, Used: now,
			Step: rec.Step}
		if recipe, err := o.Records.Recipe(key); err == nil {
			one.Recipe = recipe.Pack(index.MaxRecipe)
		} else if known, _ := r.findIn(ctx, key); known != nil {
			one.Recipe = known.Recipe
		}
		if rec.Layer != nil {
			one.Layer = &index.Layer{DiffID: rec.Layer.DiffID, Size: rec.Layer.Size}
			wanted[rec.Layer.DiffID] = append(wanted[rec.Layer.DiffID], key)
			if len(wanted[rec.Layer.DiffID]) == 1 {
				group.Go(guard.Func(func() error {
					d, err := r.bringTo(inner, to, *rec.Layer, o)
					mu.Lock()
					defer mu.Unlock()
					blobs[rec.Layer.DiffID] = d
					return err
				}))
			}
		}
		mine.Records[key] = one
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for diffID, keys := range wanted {
		for _, key := range keys {
			if blobs[diffID] == nil {
				delete(mine.Records, key)
			} else {
				mine.Records[key].Layer.Blob = *blobs[diffID]
			}
		}
	}
	return mine, nil
}

// recordOf is the record under a key: the store's, or that of a place that was read.
func (r *Room) recordOf(ctx context.Context, records *cache.Cache, key cache.Key) *cache.Record {
	if rec := records.Get(key); rec != nil {
		return rec
	}
	return r.Find(ctx, key)
}

// bringTo brings a layer to a place: from the store, or else it may be there already. Nil: it can't be had.
func (r *Room) bringTo(ctx context.Context, to writer, l cache.Layer, o SaveOptions) (*ocispec.Descriptor, error) {
	if l.ID != "" {
		if blob, ok := o.Layer(l); ok {
			d, err := to.layer(ctx, blob)
			if err != nil {
				return nil, err
			}
			return &ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: d.Annotations}, nil
		}
	}
	var offered *ocispec.Descriptor
	r.each(ctx, func(s *source, _ *index.Index) bool {
		if offer, ok := s.blobs[l.DiffID]; ok {
			offered = &offer.Blob
		}
		return offered != nil
	})
	if offered == nil {
		return nil, nil
	}
	there, err := to.holds(ctx, *offered)
	if err != nil || !there {
		return nil, err
	}
	return offered, nil
}

// merge adds records to what a place holds, until no other writer has replaced it.
func (r *Room) merge(ctx context.Context, m merging, mine *index.Index) error {
	for range maxTries {
		began := time.Now()
		old, err := r.current(ctx, m.where)
		if err != nil {
			return err
		}
		if old.Has(mine) {
			return nil
		}
		err = r.replace(ctx, m, old, mine)
		if err != nil && !isChanged(err) || m.spec.Type == sharedcache.Local {
			return err // a directory is locked against other writers
		}
		pause := min(max(4*time.Since(began), leastPause), longestPause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("others replace it all the time")
}

// current is the index that a place has now; an empty one if it holds nothing, a damaged one, one that the
// key has not signed, or another builder's cache.
func (r *Room) current(ctx context.Context, where place) (*index.Index, error) {
	from, x, err := r.read(ctx, where)
	foreign := new(foreignError)
	switch {
	case err == nil && x.InImage:
		from.close()
		return nil, fmt.Errorf("there is an image with a cache in it\n%s", notReplaced)
	case err == nil:
		from.close()
		return x, nil
	case errors.Is(err, content.ErrNotFound), errors.Is(err, errUnsigned),
		errors.Is(err, index.ErrDamaged) && ctx.Err() == nil,
		errors.As(err, &foreign) && foreign.cache:
		return &index.Index{Version: index.Version}, nil
	case errors.As(err, &foreign):
		return nil, fmt.Errorf("%w\n%s", err, notReplaced)
	}
	return nil, err
}

// notReplaced is the advice where something else than a cache is.
const notReplaced = "hint: it is not replaced: give the cache a name of its own"

// replace writes the records of both indexes. Where a place has lost blobs of the old one it leaves their records out.
func (r *Room) replace(ctx context.Context, m merging, old, mine *index.Index) error {
	a, err := newArtifact(index.Join(old, mine, time.Now()), r.Key)
	if err != nil {
		return err
	}
	err = m.to.put(ctx, a)
	if err == nil || len(old.Records)+len(old.Mounts) == 0 || ctx.Err() != nil || m.spec.Type != sharedcache.Registry {
		return err // only a registry looks whether the blobs are there
	}
	gone := map[digest.Digest]bool{}
	for _, d := range old.Blobs() {
		there, holdsErr := m.to.holds(ctx, d)
		if holdsErr != nil {
			return errors.Join(err, holdsErr)
		}
		gone[d.Digest] = !there
	}
	if a, err = newArtifact(index.Join(old.Without(gone), mine, time.Now()), r.Key); err != nil {
		return err
	}
	return m.to.put(ctx, a)
}
