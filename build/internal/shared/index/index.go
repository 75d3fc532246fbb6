package index

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/parcel"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// MediaType is that of an index.
	MediaType = "application/vnd.cooper.cache.index.v1+json"
	// Version is what an index says that this program can read.
	Version = 1
	// MaxSize is the size in bytes of the longest index that is read, and maxRecords how many records are written.
	MaxSize    = 32 << 20
	maxRecords = 5_000
	// unusedFor is how long a record stays that no build with this place has met.
	unusedFor = 30 * 24 * time.Hour
	// usedAnew is the age from which on the time of the last use of a record is written anew.
	usedAnew = 24 * time.Hour
)

// ErrDamaged is behind the errors about an index that can't be read.
var ErrDamaged = errors.New("the index of the cache is damaged")

// Index is all that a place knows.
type Index struct {
	Version int                  `json:"version"`
	Records map[cache.Key]Record `json:"records"`
	// Mounts are the contents of cache mounts.
	Mounts map[cache.Key]Mount `json:"mounts,omitempty"`

	// InImage tells that the records are in an image, which is not replaced.
	InImage bool `json:"-"`
}

// Record is the result of a step.
type Record struct {
	// Shape is the key of the step's shape.
	Shape cache.Key `json:"shape"`
	// Layer is what the step has made; nil: it has changed nothing.
	Layer *Layer `json:"layer,omitempty"`
	// Content is the digest of the layer's content without times.
	Content digest.Digest `json:"content,omitempty"`
	// Created is when the step ran, Took how long, and Used when a build with this place has met it last.
	Created time.Time     `json:"created"`
	Took    time.Duration `json:"took"`
	Used    time.Time     `json:"used"`
	// Step is the step's text, for people.
	Step string `json:"step,omitempty"`
	// Recipe says what the key was made of, as [cache.Recipe.Pack] writes it; nil: nobody knows.
	Recipe []byte `json:"recipe,omitempty"`
}

// Mount is the content of a cache mount.
type Mount struct {
	// ID is the mount's, for people.
	ID string `json:"id"`
	parcel.Parcel
	// Used is when a build with this place has used it last.
	Used time.Time `json:"used"`
}

// MaxRecipe is the size in bytes of the longest recipe of a record.
const MaxRecipe = 4 << 10

// Layer is a layer and the blob that it is in.
type Layer struct {
	DiffID digest.Digest      `json:"diffID"`
	Size   int64              `json:"size"`
	Blob   ocispec.Descriptor `json:"blob"`
}

// Parse reads an index, and refuses all of one in which something is impossible.
func Parse(text []byte) (*Index, error) {
	var x Index
	if err := json.Unmarshal(text, &x); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if x.Version != Version {
		return nil, fmt.Errorf("the index of the cache is of version %d, only %d is known", x.Version, Version)
	}
	return &x, x.check()
}

// check refuses an index in which something is impossible.
func (x *Index) check() error {
	for key, r := range x.Records {
		if err := errors.Join(key.Validate(), r.Shape.Validate(), r.check()); err != nil {
			return fmt.Errorf("%w: record %q: %w", ErrDamaged, printable.Clip(string(key)), err)
		}
	}
	for key, m := range x.Mounts {
		if err := errors.Join(key.Validate(), m.Check()); err != nil {
			return fmt.Errorf("%w: cache mount %q: %w", ErrDamaged, printable.Clip(m.ID), err)
		}
	}
	return nil
}

func (r Record) check() error {
	if r.Created.IsZero() {
		return errors.New("it has no time")
	}
	if r.Layer == nil {
		return nil
	}
	l := r.Layer
	for _, d := range []digest.Digest{r.Content, l.DiffID, l.Blob.Digest} {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return fmt.Errorf("digest %q is none of SHA-256", printable.Clip(d.String()))
		}
	}
	if l.Size < 0 || l.Blob.Size < 0 {
		return fmt.Errorf("a size of %d bytes is impossible", min(l.Size, l.Blob.Size))
	}
	switch l.Blob.MediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd:
		return nil
	}
	return fmt.Errorf("type %q is none of a layer", printable.Clip(l.Blob.MediaType))
}

// Cached is the record in the form of package cache.
func (r Record) Cached() *cache.Record {
	c := &cache.Record{Content: r.Content, Created: r.Created, Took: r.Took, Step: r.Step}
	if r.Layer != nil {
		c.Layer = &cache.Layer{DiffID: r.Layer.DiffID, Size: r.Layer.Size}
	}
	c.Recipe = cache.UnpackRecipe(r.Recipe)
	return c
}

// Has tells whether the index has records for all keys of another, each used about as lately.
func (x *Index) Has(mine *Index) bool {
	for key, r := range mine.Records {
		if have, ok := x.Records[key]; !ok || r.Used.Sub(have.Used) > usedAnew {
			return false
		}
	}
	for key, m := range mine.Mounts {
		have, ok := x.Mounts[key]
		if !ok || have.Blobs[0].Digest != m.Blobs[0].Digest || m.Used.Sub(have.Used) > usedAnew {
			return false
		}
	}
	return true
}

// Join makes an index with the records of both; of two under the same key it takes mine. It leaves out what nobody has
// used for long, and the least used of too many.
func Join(old, mine *Index, now time.Time) *Index {
	all := maps.Clone(mine.Records)
	for key, r := range old.Records {
		if _, ok := all[key]; !ok && now.Sub(r.Used) < unusedFor {
			all[key] = r
		}
	}
	if over := len(all) - maxRecords; over > 0 {
		keys := slices.SortedFunc(maps.Keys(all), func(a, b cache.Key) int {
			return cmp.Or(all[a].Used.Compare(all[b].Used), cmp.Compare(a, b))
		})
		for _, key := range keys[:over] {
			delete(all, key)
		}
	}
	mounts := maps.Clone(mine.Mounts)
	for key, m := range old.Mounts {
		if _, ok := mounts[key]; !ok && now.Sub(m.Used) < unusedFor {
			if mounts == nil {
				mounts = map[cache.Key]Mount{}
			}
			mounts[key] = m
		}
	}
	return &Index{Version: Version, Records: all, Mounts: mounts}
}

// Blobs are the descriptors of all layers and of the parts of all cache mounts, each once, in the order of their
// digests.
func (x *Index) Blobs() []ocispec.Descriptor {
	all := map[digest.Digest]ocispec.Descriptor{}
	for _, r := range x.Records {
		if r.Layer != nil {
			all[r.Layer.Blob.Digest] = r.Layer.Blob
		}
	}
	for _, m := range x.Mounts {
		for _, d := range m.Blobs {
			all[d.Digest] = d
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b ocispec.Descriptor) int {
		return cmp.Compare(a.Digest, b.Digest)
	})
}

// Without is the index without the records and cache mounts whose blobs are gone.
func (x *Index) Without(gone map[digest.Digest]bool) *Index {
	left := maps.Clone(x.Records)
	maps.DeleteFunc(left, func(_ cache.Key, r Record) bool { return r.Layer != nil && gone[r.Layer.Blob.Digest] })
	mounts := maps.Clone(x.Mounts)
	maps.DeleteFunc(mounts, func(_ cache.Key, m Mount) bool {
		return slices.ContainsFunc(m.Blobs, func(d ocispec.Descriptor) bool { return gone[d.Digest] })
	})
	return &Index{Version: x.Version, Records: left, Mounts: mounts}
}
