package outputs

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/progress"
)

// writeOutputs writes what the request asks for besides the image in the store. The result gets the digest of what was
// written last, and whether standard output has got something.
func (b Room) writeOutputs(ctx context.Context, images []made, res *Made) error {
	for _, spec := range b.Specs {
		if spec.IsImage() {
			continue
		}
		dest := spec.Dest
		if dest == export.Stdout {
			dest = "standard output"
			res.Printed = true
		}
		shown := b.Shown.Begin("writing " + dest)
		manifest, err := b.writeOutput(ctx, spec, images, shown)
		shown.End(ctx, err)
		if err != nil {
			return err
		}
		if manifest != "" {
			res.Manifest = manifest
		}
	}

	if b.Pushes == nil {
		return nil
	}
	manifest, err := b.Pushes.finish(ctx, b.sourceOf(images)) // pushes come last, since others see them at once
	if err == nil {
		res.Manifest = manifest
	}

	return err
}

// writeOutput writes one output, and gives the digest of its manifest or index; "" if the output holds only files.
func (b Room) writeOutput(ctx context.Context, spec export.Spec, images []made, shown progress.Aside) (digest.Digest,
	error) {
	if spec.HoldsFiles() {
		meter := shown.Meter("files", 0)
		defer meter.Stop()
		return "", b.writeFiles(ctx, spec, images, meter)
	}

	meter := shown.Meter("layers", sizeOfLayers(images))
	defer meter.Stop()
	all := make([]export.Image, 0, len(images))
	for _, m := range images {
		image := Metered(m.image, meter)
		image.Keeper = b.Blobs.For(spec)
		all = append(all, image)
	}

	spec = oneName(spec, images[0].image.Names)
	var (
		written export.Result
		err     error
	)

	if len(all) > 1 {
		written, err = export.WriteIndex(ctx, spec, all, b.Stdout)
	} else {
		written, err = export.Write(ctx, spec, all[0], b.Stdout)
	}
	if err != nil {
		return "", outputError(spec.Dest, err)
	}

	return written.Manifest.Digest, nil
}

// sizeOfLayers gives the size in bytes of all layers of images. A layer of several images counts once, since it is
// written once.
func sizeOfLayers(images []made) int64 {
	sizes := map[digest.Digest]int64{}
	for _, m := range images {
		for _, l := range m.image.Layers {
			sizes[l.DiffID] = l.Size
		}
	}
	var total int64
	for _, size := range sizes {
		total += size
	}
	return total
}

// Metered gives an image whose layers count the bytes that are read of them.
func Metered(image export.Image, meter *progress.Meter) export.Image {
	layers := make([]export.Blob, 0, len(image.Layers))
	for _, l := range image.Layers {
		open := l.Open
		l.Open = func() (io.ReadCloser, error) {
			r, err := open()
			if err != nil {
				return nil, err
			}
			return countedLayer{io.TeeReader(r, meter), r}, nil
		}
		l.Spared = func() { meter.Add(0, l.Size) }
		layers = append(layers, l)
	}
	image.Layers = layers
	return image
}

// countedLayer is a layer's stream.
type countedLayer struct {
	io.Reader
	io.Closer
}

// oneName leaves an OCI output one name: podman and skopeo refuse an archive with several images in its index unless
// they are told which.
func oneName(spec export.Spec, names []string) export.Spec {
	if spec.Type == export.TypeOCI && len(spec.Names) == 0 && len(names) > 1 {
		spec.Names = names[:1]
	}
	return spec
}
