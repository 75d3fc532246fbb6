package pull

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// fetch gets a layer from another layer of the store or from the source: unpacked, where that can be, or else its
// archive.
func (c *layerCopy) fetch(ctx context.Context, l *pendingLayer) (err error) {
	if c.area != nil {
		err := c.stage(ctx, l)
		owner := new(unpack.OwnerError)
		switch {
		case errors.As(err, &owner) && unmapped(c.opts.Mapping, l.found):
			l.beyond = err
			return nil
		case !errors.As(err, &owner) && !errors.Is(err, unpack.ErrStrange):
			return err
		}
	}
	l.content, l.found, err = c.spool(ctx, l)
	return err
}

// spool gets a layer's archive in a file.
func (c *layerCopy) spool(ctx context.Context, l *pendingLayer) (*layerContent, *unpack.Archive, error) {
	if content, found, err := c.fromStore(ctx, l); err != nil || content != nil {
		return content, found, err
	}
	rc, err := c.src.Fetch(ctx, l.desc)
	if err != nil {
		return nil, nil, err
	}
	defer rc.Close()
	var came atomic.Int64
	verified, err := content.Verify(countingReader{rc, &came}, l.desc)
	if err != nil {
		return nil, nil, err
	}

	file, err := c.room.tempFile()
	if err != nil {
		return nil, nil, err
	}

	content := &layerContent{file: file, digest: l.desc.Digest}
	stop := c.report(l, l.desc.Size, &came)
	found, err := unpack.Scan(io.TeeReader(verified, file), l.diffID)
	stop(err == nil)
	if err != nil {
		return nil, nil, errors.Join(err, content.close())
	}
	if c.opts.Keep != nil {
		c.opts.Keep(ctx, l.desc, file)
	}

	return content, found, nil
}

// fromStore reads the same content out of a layer that stands on other layers. It returns nil if there is none; one
// that can't be read is fetched anew.
func (c *layerCopy) fromStore(ctx context.Context, l *pendingLayer) (*layerContent, *unpack.Archive, error) {
	same, err := c.room.library.LayersByUncompressedDigest(l.diffID)
	if err != nil || len(same) == 0 {
		return nil, nil, nil
	}

	rc, err := c.room.store.LayerTar(store.FromStorage(&same[0]))
	if err != nil {
		return nil, nil, nil
	}
	defer rc.Close()
	file, err := c.room.tempFile()
	if err != nil {
		return nil, nil, err
	}

	content := &layerContent{file: file, digest: l.diffID}
	found, err := unpack.Scan(io.TeeReader(store.Interruptible(ctx, rc), file), l.diffID)
	if err != nil {
		err = content.close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}

	if same[0].CompressedDigest == l.desc.Digest && same[0].CompressedSize > 0 {
		content.digest, content.size = l.desc.Digest, &same[0].CompressedSize
	}
	return content, found, nil
}
