package archives

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// SaveRequest says which images are saved, and to what.
type SaveRequest struct {
	// Images are names, IDs or digests. An image keeps the names that are given here; by ID it has none.
	Images []string
	// Names are given to the only image instead of those; nil: it keeps them.
	Names []string
	// Spec says what is written; its type is export.TypeDocker, TypeOCI or TypeDir.
	Spec export.Spec
	// Platform chooses among the images of an index; nil: this machine's.
	Platform *ocispec.Platform
	// AllPlatforms saves an index with all of its images: there is one name, and Spec.Type is TypeOCI.
	AllPlatforms bool
	// Stdout is where an archive goes whose destination is export.Stdout.
	Stdout io.Writer
	// Progress receives the events; nil: they are dropped.
	Progress progress.Sink
}

// Save writes images of the session's store to a file or directory, which appears when it is whole.
func Save(ctx context.Context, s *session.Session, req SaveRequest) (err error) {
	if req.Progress == nil {
		req.Progress = progress.Discard{}
	}
	if len(req.Images) == 0 {
		return errors.New("there is no image to save")
	}
	d, err := s.Existing(ctx)
	if err != nil {
		return err
	}
	if d == nil {
		return fmt.Errorf("%s: %w", req.Images[0], images.ErrNoImage)
	}
	defer func() { err = s.Explain(err) }()
	end, err := d.Removal.BeginBuild(ctx) // until end is called, nothing of the images is removed
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	c, err := cache.Open(d.Store.Paths().Cache())
	if err != nil {
		return err
	}
	kept := blobs.New(blobs.Options{
		Cache: c, Dir: d.Store.Paths().Remote(), Origins: d.Images, Registry: s.Registry().Options(),
		Spool: func() (*os.File, error) { return outfile.Unnamed(d.Store.Paths().Own) },
	})
	defer kept.Close()
	all, index, err := leaving(ctx, d, req)
	if err != nil {
		return err
	}

	var size int64
	for _, image := range all {
		for _, l := range image.Layers {
			size += l.Size
		}
	}
	dest := req.Spec.Dest
	if dest == export.Stdout {
		dest = "standard output"
	}
	shown := progress.NewAsides(req.Progress).Begin("writing " + dest)
	meter := shown.Meter("layers", size)
	for i := range all {
		all[i] = outputs.Metered(all[i], meter)
		all[i].Keeper = kept.For(req.Spec)
	}
	if index != nil {
		_, err = export.WriteIndexAs(ctx, req.Spec, all, index, req.Stdout)
	} else {
		_, err = export.WriteAll(ctx, req.Spec, all, req.Stdout)
	}
	meter.Stop()
	shown.End(ctx, err)
	return err
}

// leaving finds the images of a request, each once. index is the text of the index that is saved with them; nil: none
// is.
func leaving(ctx context.Context, d *depot.Depot, req SaveRequest) (all []export.Image, index []byte, err error) {
	if req.AllPlatforms {
		return leavingIndex(ctx, d, req)
	}
	want := platforms.DefaultSpec()
	if req.Platform != nil {
		want = *req.Platform
	}
	var ids []string
	for _, name := range req.Images {
		found, err := d.Images.Describe(ctx, name, want)
		if err != nil {
			return nil, nil, err
		}
		_, given, err := d.Images.LookUp(name)
		if err != nil {
			return nil, nil, err
		}
		at := slices.Index(ids, found.ID)
		if at < 0 {
			at = len(ids)
			ids = append(ids, found.ID)
			all = append(all, imageOf(d, found.Found, found.Manifest, req.Spec))
		}
		if given != "" && !slices.Contains(all[at].Names, given) {
			all[at].Names = append(all[at].Names, given)
		}
	}
	if req.Names != nil && len(all) == 1 {
		all[0].Names = req.Names
	}
	return all, nil, nil
}

// leavingIndex finds an index and its images, of which the first gets the name.
func leavingIndex(ctx context.Context, d *depot.Depot, req SaveRequest) (all []export.Image, index []byte, err error) {
	name := req.Images[0]
	index, out, err := d.Images.FindOutgoing(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if len(out) == 0 {
		return nil, nil, fmt.Errorf("the index %s has no images yet", name)
	}
	for _, one := range out {
		all = append(all, imageOf(d, one.Found, one.Manifest, req.Spec))
	}
	_, given, err := d.Images.LookUp(name)
	if given != "" {
		all[0].Names = []string{given}
	}
	return all, index, err
}

func imageOf(d *depot.Depot, from images.Found, manifest []byte, spec export.Spec) export.Image {
	image := export.Image{
		Config: from.Config, Platform: from.Image.Platform, Layers: outputs.BlobsOf(d.Store, from.Layers),
	}
	if from.Image.Created != nil {
		image.Created = *from.Image.Created
	}
	var m ocispec.Manifest
	if json.Unmarshal(manifest, &m) != nil {
		return image
	}
	image.Annotations = m.Annotations
	// An archive for docker may hold either, since its readers start from another file.
	if spec.Type == export.TypeDocker || spec.Type == export.TypeOCI && m.MediaType == imagebuilder.OCI.Manifest() ||
		spec.Type == export.TypeDir && m.MediaType == imagebuilder.Docker.Manifest() {
		image.Text = manifest
	}
	return image
}
