package parcel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/guard"
)

// UnpackOptions say where a parcel goes.
type UnpackOptions struct {
	// Dir is the path of an empty directory of the caller's own. After an error it has a part of the parcel.
	Dir string
	// Nested is that of package unpack.
	Nested bool
	// Spool makes an empty file without a name.
	Spool func() (*os.File, error)
}

// Unpack makes the directory of a parcel.
func Unpack(ctx context.Context, src content.Fetcher, p Parcel, o UnpackOptions) (err error) {
	l, err := openListing(ctx, src, p)
	if err != nil {
		return err
	}
	defer l.close()
	spool, err := o.Spool()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	starts, err := fetchPacks(ctx, src, p, l.head, spool)
	if err != nil {
		return err
	}
	var bodies []io.Reader
	for _, c := range l.Chunks {
		bodies = append(bodies, io.NewSectionReader(spool, starts[c.Pack]+c.At, c.Size))
	}
	pipe, archive := io.Pipe()
	group, inner := errgroup.WithContext(ctx)
	group.Go(guard.Func(func() (err error) {
		defer func() { _ = archive.CloseWithError(err) }() // it never fails
		return assemble(archive, l, io.MultiReader(bodies...))
	}))
	group.Go(guard.Func(func() (err error) {
		defer func() { _ = pipe.CloseWithError(errors.Join(err, io.ErrClosedPipe)) }() // it never fails
		writers := unpack.NewWriters()
		defer writers.Close()
		_, err = unpack.Unpack(inner, pipe, unpack.Options{DiffID: l.DiffID, Dir: o.Dir, TarSplit: io.Discard,
			Marks: "user.overlay.", Nested: o.Nested, Writers: writers})
		return err
	}))
	return group.Wait()
}

// fetchPacks writes the contents of all packs to a file, and tells where each begins.
func fetchPacks(ctx context.Context, src content.Fetcher, p Parcel, h head, spool *os.File) ([]int64, error) {
	wanted := make([]bool, len(h.Packs))
	for _, c := range h.Chunks {
		wanted[c.Pack] = true
	}
	starts, end := make([]int64, len(h.Packs)), int64(0)
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(maxSends / 2)
	for i, size := range h.Packs {
		if starts[i] = end; !wanted[i] {
			continue
		}
		end += size
		group.Go(guard.Func(func() error {
			rc, plain, err := openBlob(inner, src, p.Blobs[i+1])
			if err != nil {
				return err
			}
			n, err := io.Copy(io.NewOffsetWriter(spool, starts[i]), io.LimitReader(plain, size+1))
			plain.Close()
			if err == nil && n != size {
				err = fmt.Errorf("%w: a pack has not the %d bytes that the listing says", ErrDamaged, size)
			}
			return errors.Join(err, rc.Close())
		}))
	}
	return starts, group.Wait()
}

// assemble writes the archive that the records of a listing and the bodies of its files make.
func assemble(to io.Writer, records io.Reader, bodies io.Reader) error {
	from := json.NewDecoder(records)
	for {
		var e storage.Entry
		if err := from.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		var err error
		switch e.Type {
		case storage.SegmentType:
			_, err = to.Write(e.Payload)
		case storage.FileType:
			_, err = io.CopyN(to, bodies, max(0, e.Size))
		default:
			err = ErrDamaged
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: its chunks are too few", ErrDamaged)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
