package push

import (
	"bytes"
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Holds tells whether all repositories have a blob, or could get it from a neighbour now.
func (p *Pusher) Holds(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	begun, err := p.begin(ctx, d)
	begun.cancel(ctx)
	return len(begun) == 0, err
}

// Blob brings a blob into all repositories that don't have it.
func (p *Pusher) Blob(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	begun, err := p.begin(ctx, d)
	if err == nil {
		err = p.sendAll(ctx, begun, d, from)
	}
	if err != nil {
		begun.cancel(ctx)
	}
	return err
}

// Artifact brings a manifest that is no image's, and its config, into all repositories and gives it their tags. These
// have what else it names.
func (p *Pusher) Artifact(ctx context.Context, config ocispec.Descriptor, configText []byte,
	root ocispec.Descriptor, text []byte) error {
	if err := p.Blob(ctx, config, bytes.NewReader(configText)); err != nil {
		return err
	}
	for _, r := range p.repos {
		for _, tag := range r.tags {
			if err := r.PutManifest(ctx, tag, root, text); err != nil {
				return fmt.Errorf("push manifest %s to %s: %w", tag, r.ref, err)
			}
		}
	}
	return nil
}
