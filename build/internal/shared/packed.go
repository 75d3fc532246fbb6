package shared

import (
	"context"
	"errors"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
)

// packed says how layers are compressed for a place that takes files.
type packed struct {
	keep  export.Keeper
	codec export.Codec
	spool func() (*os.File, error)
}

// into brings a layer to a place: as a blob that is kept or there, or else compressed now.
func (p packed) into(ctx context.Context, l export.Blob, to writer) (ocispec.Descriptor, error) {
	for _, d := range p.keep.Blobs(l) {
		if there, err := to.holds(ctx, d); there || err != nil {
			return d, err
		}
		file, err := p.keep.Open(ctx, d)
		if err != nil {
			return d, err
		}
		if file != nil {
			return d, errors.Join(to.blob(ctx, d, file), file.Close())
		}
	}
	file, err := p.spool()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	_, threads := p.codec.Threads(l.Size)
	d, err := p.codec.Pack(ctx, l, file, threads)
	if err != nil {
		return d, errors.Join(err, file.Close())
	}
	if p.codec.Kind != export.Uncompressed {
		p.keep.Keep(ctx, l, d, file)
	}
	return d, errors.Join(to.blob(ctx, d, file), file.Close())
}
