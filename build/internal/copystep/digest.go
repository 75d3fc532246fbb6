package copystep

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// copyDigest makes the content digest of the files that a COPY takes, once. Reading large files costs most, so begin
// leaves them out; their digests come from the pass that makes the layer, which reads the same bytes anyway.
type copyDigest struct {
	in    stepinput.Input
	query source.Query
	// whole makes begin read large files too, for an ADD that may unpack archives, whose bytes the layer hasn't got.
	whole bool
	known source.Known

	mu     sync.Mutex
	done   bool
	digest string
	err    error
	// listing names the files, and contents says of those of a context what they hold.
	listing  *source.Listing
	contents *source.Contents
	// print is the fingerprint of the files as they were when the digest was made.
	print digest.Digest

	copiesMu sync.Mutex
	copies   map[string]copiedFile
}

// copiedFile is a large file that was copied: its attributes when it was opened, and when that was.
type copiedFile struct {
	stat  unix.Stat_t
	began time.Time
}

// get gives the digest, which the first call makes.
func (c *copyDigest) get(ctx context.Context) (string, error) {
	return c.make(ctx, 0)
}

// list names the files that the digest is about; nil if there are none.
func (c *copyDigest) list(ctx context.Context) (*source.Listing, error) {
	_, err := c.make(ctx, 0)
	return c.listing, err
}

// begin makes the digest and the listing as far as they need no large file.
func (c *copyDigest) begin(ctx context.Context) {
	skipFrom := int64(layer.LargeFileSize)
	if c.whole {
		skipFrom = 0
	}
	_, _ = c.make(ctx, skipFrom) // get returns the error
}

func (c *copyDigest) make(ctx context.Context, skipFrom int64) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done || len(c.query.Patterns) == 0 {
		return c.digest, c.err
	}
	o := source.DigestOptions{Query: c.query, Known: &c.known, SkipFrom: skipFrom, Listing: new(source.Listing)}
	var sum digest.Digest
	if c.in.Local() {
		o.Contents, o.Print = new(source.Contents), &sum
	}
	d, err := c.in.DigestOf(ctx, o, source.Digest)
	if errors.Is(err, source.ErrSkipped) || err != nil && ctx.Err() != nil { // the next call makes it
		return "", err
	}
	c.done, c.digest, c.err = true, d, err
	c.listing, c.contents, c.print = o.Listing, o.Contents, sum
	return d, err
}

// made gives the fingerprint of the files as they were when the digest was made, and what they held; false: there is
// none yet.
func (c *copyDigest) made() (sum string, held *source.Contents, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.print), c.contents, c.done && c.err == nil && c.print != ""
}

// fingerprint changes when a file that the digest is about is written to.
func (c *copyDigest) fingerprint(ctx context.Context) (string, error) {
	return c.in.DigestOf(ctx, source.DigestOptions{Query: c.query}, source.Fingerprint)
}

// copied remembers a large file until its digest is known.
func (c *copyDigest) copied(path string, st *unix.Stat_t, began time.Time) {
	c.copiesMu.Lock()
	defer c.copiesMu.Unlock()
	if c.copies == nil {
		c.copies = map[string]copiedFile{}
	}
	c.copies[path] = copiedFile{*st, began}
}

// read records sum, the digest of the data of a large file in the layer, as that of the file that it was copied from.
func (c *copyDigest) read(name string, sum [32]byte) {
	c.copiesMu.Lock()
	defer c.copiesMu.Unlock()
	if f, ok := c.copies[name]; ok {
		c.known.Add(&f.stat, sum, f.began)
	}
}
