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

// A Record tells what came of a step.
type Record struct {
	// Layer is what the step added; nil if it changed nothing.
	Layer *Layer `json:"layer,omitempty"`
	// Content is the digest of what the layer holds, without times.
	Content digest.Digest `json:"content,omitempty"`
	// Created is when the step was run, and Took how long it ran.
	Created time.Time     `json:"created"`
	Took    time.Duration `json:"took"`
	// Step is the step's text, for people.
	Step string `json:"step,omitempty"`
	// Blob is what a layer was compressed to; nil: the record is of something else.
	Blob *Blob `json:"blob,omitempty"`
	// Places are the repositories of a registry that have a blob.
	Places []string `json:"places,omitempty"`
}

// Blob names a compressed layer; its size is in bytes.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Cache is a directory of records. It is safe for concurrent use, by several processes too.
type Cache struct{ dir string }

// Open opens the cache in a directory, which is made if it isn't there.
func Open(dir string) (*Cache, error) {
	for _, sub := range []string{steps, shapes, locks} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	return &Cache{dir: dir}, nil
}

const (
	steps  = "steps"
	shapes = "shapes"
	locks  = "locks"
)

func (c *Cache) path(kind string, k Key) string {
	return filepath.Join(c.dir, kind, string(k[:2]), string(k[2:]))
}

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
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	r := new(Record)
	if json.Unmarshal(raw, r) != nil || r.Created.IsZero() {
		return nil
	}
	return r
}

// noteUse makes the modification time of a record its last use. A record that is being removed has no use any more.
func noteUse(path string) {
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// Put stores a record under a key, in place of what was there.
func (c *Cache) Put(k Key, r Record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write cache record: %w", err)
	}
	return writeFile(c.path(steps, k), raw)
}

// writeFile replaces a file as a whole. It isn't synced: a record lost in a crash costs a step, and one that isn't
// whole doesn't parse.
func writeFile(path string, data []byte) error {
	if err := fsys.Replace(path, data, fsys.ReplaceOptions{MakeDirs: true}); err != nil {
		return fmt.Errorf("write cache record: %w", err)
	}
	return nil
}

// Seen tells whether a step of this shape (all that is known before its parent is) was ever recorded. If it wasn't,
// there is no record to wait for.
func (c *Cache) Seen(shape Key) bool {
	_, err := os.Lstat(c.path(shapes, shape))
	if err == nil {
		noteUse(c.path(shapes, shape))
	}
	return err == nil
}

// MarkSeen makes Seen true for a shape.
func (c *Cache) MarkSeen(shape Key) error {
	if c.Seen(shape) {
		return nil
	}
	return writeFile(c.path(shapes, shape), nil)
}

// Lock waits for a lock that other builds of this store see too, and returns the function that gives it back. The wait
// ends with the context, the error is then its cause. The lock is for the moment in which a layer that is ready gets
// its place in the store, or is found to be there already. Where the store stages layers that is a rename, some
// milliseconds; with other drivers, such as vfs, the driver unpacks the layer in that time, and a build that has made
// the same on the same parent waits for it, in place of unpacking it once more.
func (c *Cache) Lock(ctx context.Context, k Key) (unlock func() error, err error) {
	// 256 lock files serve all keys: two keys that share one only wait for each other.
	f, err := flock.File(ctx, filepath.Join(c.dir, locks, string(k[:2])), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	return f.Close, nil
}
