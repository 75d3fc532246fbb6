package sendimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Request says which image is pushed, and where to.
type Request struct {
	// Image is a name or an ID in the store.
	Image string
	// To are the names to push to; none: the name that the image has in the store.
	To []string
	// AllTags pushes all tags that the image's repository has in the store.
	AllTags bool
	// Platform selects one image of an index; nil: the whole index is pushed.
	Platform *ocispec.Platform
	// Spec says in which format and compression the image is pushed; its Push is set.
	Spec export.Spec
	// Progress receives the events of the push; nil: they are dropped.
	Progress progress.Sink
}

// Pushed says which manifests were pushed, and to which names.
type Pushed struct {
	// Manifests are the digests of the manifests or indexes that Names lead to, in the same order.
	Manifests []digest.Digest
	// Names are the full names that were pushed.
	Names []string
}

// Push pushes an image of the store. A tag is moved when all of the image is there.
func Push(ctx context.Context, s *session.Session, req Request) (res Pushed, err error) {
	if req.Progress == nil {
		req.Progress = progress.Discard{}
	}
	defer func() { err = s.Explain(err) }()
	d, err := s.Depot(ctx)
	if err != nil {
		return Pushed{}, err
	}
	end, err := d.Removal.BeginBuild(ctx) // until end is called, nothing of the image is removed
	if err != nil {
		return Pushed{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	c, err := cache.Open(d.Store.Paths().Cache())
	if err != nil {
		return Pushed{}, err
	}
	kept := blobs.New(blobs.Options{
		Cache: c, Dir: d.Store.Paths().Remote(), Origins: d.Images, Registry: s.Registry().Options(),
		Spool: func() (*os.File, error) { return outfile.Unnamed(d.Store.Paths().Own) },
	})
	defer kept.Close()
	p := pusher{Request: req, session: s, depot: d, cache: c, blobs: kept, shown: progress.NewAsides(req.Progress)}
	if !req.AllTags {
		return res, p.push(ctx, req.Image, req.To, &res)
	}
	names, err := d.Images.NamesBeside(req.Image)
	if err != nil {
		return Pushed{}, err
	}
	for _, name := range names {
		if err := p.push(ctx, name, nil, &res); err != nil {
			return res, err
		}
	}
	return res, nil
}

// pusher pushes images of one store.
type pusher struct {
	Request
	session *session.Session
	depot   *depot.Depot
	cache   *cache.Cache
	blobs   *blobs.Room
	shown   progress.Asides
}

// push pushes one image or index and adds it to the result.
func (p pusher) push(ctx context.Context, name string, to []string, res *Pushed) error {
	src, found, err := p.source(ctx, name)
	if err != nil {
		return err
	}
	if len(to) == 0 && !strings.ContainsAny(found, "/:") { // an ID
		return fmt.Errorf("%s is an ID: say the name to push it to\nhint: cooper push %[1]s REGISTRY/NAME:TAG", name)
	}
	if len(to) == 0 {
		to = []string{found}
	}
	spec := p.Spec
	spec.Names = to
	refs, err := outputs.PushNames(spec, nil)
	if err != nil {
		return err
	}
	reach := p.session.Registry()
	sent, err := pushTo(ctx, src, outputs.PushOptions{Layers: p.depot.Store, Origins: p.depot.Images, Cache: p.cache,
		Blobs: p.blobs, Registry: reach.Options(), Retries: reach.Retries, Spec: spec, To: refs, Shown: p.shown})
	if err != nil {
		return err
	}
	for _, ref := range refs {
		res.Names = append(res.Names, ref.String())
		res.Manifests = append(res.Manifests, sent.Digest)
	}
	return nil
}

// pushTo pushes an image or index. It returns the descriptor of the pushed manifest or index.
func pushTo(ctx context.Context, src push.Source, o outputs.PushOptions) (ocispec.Descriptor, error) {
	pushing, err := outputs.OpenPush(ctx, o)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	sent, err := pushing.Send(ctx, src)
	if err == nil {
		err = sent.Tag(ctx)
	}
	pushing.End(ctx, err)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return sent.Manifest(), nil
}

// source finds an image or index of the store and prepares it for the push. found is the name that it was found by.
func (p pusher) source(ctx context.Context, name string) (src push.Source, found string, err error) {
	index, all, err := p.depot.Images.FindOutgoing(ctx, name)
	if err != nil {
		return src, "", err
	}
	if len(all) == 0 {
		return src, "", fmt.Errorf("the index %s has no images yet\nhint: cooper manifest add %[1]s IMAGE adds one", name)
	}
	if index != nil {
		src.Index = &push.Index{Text: index, Format: formatOf(index), Features: imagebuilder.ReadFeatures(index)}
	}
	if p.Platform != nil {
		src.Index = nil
		if all, err = only(all, *p.Platform); err != nil {
			return src, "", fmt.Errorf("image %s: %w", name, err)
		}
	}
	for _, i := range all {
		src.Images = append(src.Images, push.Image{
			Image: export.Image{Config: i.Config, Platform: i.Image.Platform,
				Layers: outputs.BlobsOf(p.depot.Store, i.Layers)},
			Format: formatOf(i.Manifest), Text: i.Manifest, Entry: i.Entry,
		})
	}
	return src, all[0].Name, nil
}

// only selects the image of an index for a platform.
func only(all []images.Outgoing, platform ocispec.Platform) ([]images.Outgoing, error) {
	entries := make([]ocispec.Descriptor, 0, len(all))
	for _, i := range all {
		d := i.Entry
		if d.Platform == nil {
			d.Platform = &i.Image.Platform
		}
		entries = append(entries, d)
	}
	chosen, err := content.Choose(entries, platform)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(entries, func(d ocispec.Descriptor) bool {
		return d.Digest == chosen.Digest && platforms.FormatAll(*d.Platform) == platforms.FormatAll(*chosen.Platform)
	})
	return all[at : at+1], nil
}

// formatOf is the format of a manifest or index. Docker's always says its type; what it names may have another one.
func formatOf(text []byte) imagebuilder.Format {
	var said struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(text, &said) == nil &&
		(said.MediaType == imagebuilder.TypeDockerManifest || said.MediaType == imagebuilder.TypeDockerList) {
		return imagebuilder.Docker
	}
	return imagebuilder.OCI
}
