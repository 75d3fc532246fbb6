package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Layer is a layer as a record names it: its ID in the store and its identity.
type Layer struct {
	ID     string        `json:"id"`
	Parent string        `json:"parent,omitempty"`
	DiffID digest.Digest `json:"diffID"`
	Size   int64         `json:"size"`
}

// A Record holds the result of a step.
type Record struct {
	// Layer is the layer that the step made; nil if it changed nothing.
	Layer *Layer `json:"layer,omitempty"`
	// Content is the digest of the layer's content, without times.
	Content digest.Digest `json:"content,omitempty"`
	// Created is when the step was run, and Took how long it ran.
	Created time.Time     `json:"created"`
	Took    time.Duration `json:"took"`
	// Step is the step's text, for people.
	Step string `json:"step,omitempty"`
	// Blob is the blob that a layer was compressed to; nil in a record of another kind.
	Blob *Blob `json:"blob,omitempty"`
	// Output is what a command has written, compressed; nil in a record of another kind.
	Output []byte `json:"output,omitempty"`
	// From is the shared cache that the record comes from; empty: a step of this store has made it.
	From string `json:"from,omitempty"`
	// Recipe says what the key was made of. Put writes it, Get leaves it out, and Cache.Recipe reads it; nil: nobody
	// knows.
	Recipe *Recipe `json:"-"`
	// Places are the repositories of a registry that have a blob.
	Places []string `json:"places,omitempty"`
}

// Blob names a compressed layer; its size is in bytes.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Annotations are those that its descriptor needs.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Cache is a directory of records. It is safe for concurrent use, by several processes too.
type Cache struct{ dir string }

// Open opens the cache in a directory, which is made if it isn't there.
func Open(dir string) (*Cache, error) {
	for _, sub := range []string{steps, shapes, files, locks} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	return &Cache{dir: dir}, nil
}

const (
	steps  = "steps"
	shapes = "shapes"
	files  = "files"
	locks  = "locks"
)

func (c *Cache) path(kind string, k Key) string {
	return filepath.Join(c.dir, kind, string(k[:2]), string(k[2:]))
}

// Flights is the directory for what tells which steps are being run at the moment. It may not be there.
func (c *Cache) Flights() string { return filepath.Join(c.dir, "flights") }

// Get returns the record under a key, nil if there is none. A record that can't be read counts as none: the step is
// run again and writes it anew.
func (c *Cache) Get(k Key) *Record {
	r := readRecord(c.path(steps, k))
	if r != nil {
		noteUse(c.path(steps, k))
	}
	return r
}

func readRecord(path string) *Record {
	raw, err := fsys.ReadLine(path)
	if err != nil {
		return nil
	}
	r := new(Record)
	if json.Unmarshal(raw, r) != nil || r.Created.IsZero() {
		return nil
	}
	return r
}

// noteUse sets the modification time of a record, which is the time of its last use, to now. It ignores errors: the
// record may have been removed meanwhile.
func noteUse(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// Put stores a record under a key, in place of what was there.
func (c *Cache) Put(k Key, r Record) error {
	raw, err := json.Marshal(r)
	if err == nil && r.Recipe != nil {
		var recipe []byte
		recipe, err = r.Recipe.encode()
		raw = append(append(raw, '\n'), recipe...)
	}
	if err != nil {
		return fmt.Errorf("write cache record: %w", err)
	}
	return writeFile(c.path(steps, k), raw)
}

// writeFile replaces a file as a whole. It isn't synced: a record that a crash loses or damages only costs running its
// step again, since a damaged one doesn't parse.
func writeFile(path string, data []byte) error {
	if err := fsys.Replace(path, data, fsys.ReplaceOptions{MakeDirs: true}); err != nil {
		return fmt.Errorf("write cache record: %w", err)
	}
	return nil
}

// Seen tells whether a step of this shape (all that is known before its parent is) was ever recorded. If it wasn't,
// there is no record to wait for.
func (c *Cache) Seen(shape Key) bool {
	info, err := os.Lstat(c.path(shapes, shape))
	if err != nil {
		return false
	}
	if age := time.Since(info.ModTime()); age > shapeUse || age < 0 {
		noteUse(c.path(shapes, shape))
	}
	return true
}

// shapeUse is how exactly the use of a shape is noted: its file costs next to nothing to keep.
const shapeUse = time.Minute

// MarkSeen makes Seen true for a shape. The key is that of a step of this shape that has just run; empty: none has.
func (c *Cache) MarkSeen(shape, k Key) error {
	path := c.path(shapes, shape)
	if !c.Seen(shape) {
		return writeFile(path, []byte(k))
	}
	if k == "" {
		return nil
	}
	if err := os.WriteFile(path, []byte(k), 0o600); err != nil { // half of a key is none
		return fmt.Errorf("write cache record: %w", err)
	}
	return nil
}

// LastOf is the key of the step of a shape that ran last; empty if none is known.
func (c *Cache) LastOf(shape Key) Key {
	raw, err := os.ReadFile(c.path(shapes, shape))
	if k := Key(raw); err == nil && k.Validate() == nil {
		return k
	}
	return ""
}

// Lock takes a lock that all processes with this store share, and returns the function that releases it. If the context
// ends while it waits, the error is the context's cause. A build holds the lock while it puts a finished layer into the
// store, or finds that the layer is there already. If the store stages layers, that is a rename, which takes some
// milliseconds. With other drivers, such as vfs, the driver unpacks the layer meanwhile; a build with the same layer on
// the same parent waits for it, instead of unpacking it once more.
func (c *Cache) Lock(ctx context.Context, k Key) (unlock func() error, err error) {
	// 256 lock files serve all keys: two keys that share one only wait for each other.
	f, err := flock.File(ctx, filepath.Join(c.dir, locks, string(k[:2])), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	return f.Close, nil
}
