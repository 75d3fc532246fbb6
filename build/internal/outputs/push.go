package outputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// PushNames gives the names that an image is pushed to: those of the output, or else those of the image.
func PushNames(spec export.Spec, tags []string) ([]reference.Reference, error) {
	texts := spec.Names
	if len(texts) == 0 {
		texts = tags
	}
	if len(texts) == 0 {
		return nil, errors.New("there is no name to push to\nhint: -t REGISTRY/NAME:TAG names the image, " +
			"name=REGISTRY/NAME:TAG in --output the output")
	}
	var all []reference.Reference
	for _, text := range texts {
		ref, err := PushName(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, ref) {
			all = append(all, ref)
		}
	}
	return all, nil
}

// PushName reads a name to push to. It must say in which registry.
func PushName(text string) (reference.Reference, error) {
	bare := strings.TrimPrefix(text, "docker://")
	ref, err := reference.Parse(bare)
	switch {
	case err != nil:
		return ref, fmt.Errorf("image name %q: %w", text, err)
	case conf.ShortName(bare):
		return ref, fmt.Errorf("image name %q does not say in which registry\nhint: Docker's is docker.io/%s", text,
			strings.TrimPrefix(ref.WithLatest().Name(), "docker.io/"))
	case ref.Digest != "":
		return ref, fmt.Errorf("image name %q: a name to push to can't have a digest", text)
	}
	return ref.WithLatest(), nil
}

// PushOptions say how a push reads layers, and where it sends them.
type PushOptions struct {
	Layers  Layers
	Origins Finder
	Cache   *cache.Cache
	// Blobs has compressed layers.
	Blobs *blobs.Room
	// Registry says how the registries that it is sent to are reached.
	Registry registry.Options
	// Retries say how often the push is tried again.
	Retries registry.Retries
	Spec    export.Spec
	To      []reference.Reference
	Shown   progress.Asides
}

// Pushing is a push with its display in the progress.
type Pushing struct {
	*push.Pusher
	to    *registry.Client
	shown progress.Aside
}

// OpenPush begins to show a push, and asks no registry anything. The caller calls End.
func OpenPush(ctx context.Context, o PushOptions) (*Pushing, error) {
	settings := o.Registry
	settings.Insecure = settings.Insecure || o.Spec.Push.Insecure
	to, err := registry.NewClient(settings)
	if err != nil {
		return nil, err
	}

	names := make([]string, 0, len(o.To))
	for _, ref := range o.To {
		names = append(names, ref.String())
	}

	p := &Pushing{to: to, shown: o.Shown.Begin("pushing " + strings.Join(names, ", "))}
	p.Pusher, err = push.New(push.Options{
		Client: to, To: o.To, ByDigest: o.Spec.Push.ByDigest, Codec: o.Spec.Codec(),
		Keeper: o.Blobs.For(o.Spec),
		Format: o.Spec.Push.Format, Annotations: o.Spec.Annotations, Cache: o.Cache, Origins: o.Origins,
		Spool:    func() (*os.File, error) { return outfile.Unnamed(o.Layers.Paths().Own) },
		Progress: p.shown.Transfer, Retries: o.Retries,
		Again: func(wait time.Duration, err error) {
			p.shown.Note(fmt.Sprintf("pushing once more in %s: %v", wait, err))
		},
	})
	if err != nil {
		p.End(ctx, err)
		return nil, err
	}

	return p, nil
}

// End shows that the push ended, with err, and closes its client.
func (p *Pushing) End(ctx context.Context, err error) {
	p.shown.End(ctx, err)
	p.to.Close()
}

// BlobsOf gives layers of the store as they leave it.
func BlobsOf(st Layers, layers []store.Layer) []export.Blob {
	all := make([]export.Blob, 0, len(layers))
	for _, l := range layers {
		came := l.Blob
		if now, err := st.Layer(l.ID); err == nil && came.Digest == "" {
			came = now.Blob
		}
		all = append(all, export.Blob{
			ID: l.ID, DiffID: l.DiffID, Size: l.Size, Came: came,
			Open: func() (io.ReadCloser, error) { return st.LayerStream(l) },
		})
	}
	return all
}

// sourceOf gives the images of a build in the form that package push takes.
func (b Room) sourceOf(images []made) push.Source {
	var src push.Source
	for _, m := range images {
		src.Images = append(src.Images, push.Image{Image: m.image, Format: b.Format,
			Entry: ocispec.Descriptor{Platform: &m.image.Platform}})
	}
	if len(images) > 1 {
		src.Index = &push.Index{Format: b.Format}
	}
	return src
}

// CheckPushName refuses names that an image can't be pushed to.
func CheckPushName(name string) error {
	_, err := PushName(name)
	return err
}
