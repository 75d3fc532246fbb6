package pullimage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Request says what is pulled.
type Request struct {
	// Image is a name, as in FROM.
	Image string
	// Platforms are those of which an image is pulled; none: this machine's. Of several the name leads to an index.
	Platforms []ocispec.Platform
	// AllPlatforms pulls the images of all platforms of Linux that the registry has some for; Platforms is empty.
	AllPlatforms bool
	// AllTags pulls all tags that the image's repository has.
	AllTags bool
	// Policy says when a registry is asked; empty: bases.PullMissing.
	Policy bases.PullPolicy
	// Progress receives the events; nil: they are dropped.
	Progress progress.Sink
}

// Pulled is an image that is in the store now, or an index: its ID and full name.
type Pulled struct{ ID, Name string }

// Pull puts images into the session's store.
func Pull(ctx context.Context, s *session.Session, req Request) (all []Pulled, err error) {
	if req.Progress == nil {
		req.Progress = progress.Discard{}
	}
	d, err := s.Depot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = s.Explain(err) }()
	end, err := d.Removal.BeginBuild(ctx) // until end is called, nothing of the images is removed
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	caller, err := s.Caller()
	if err != nil {
		return nil, err
	}
	p := puller{Request: req, depot: d, from: bases.New(bases.Options{
		Images: d.Images, Layers: snapshot.Rechainer{Store: d.Store}, Transfer: d.Pull, Registry: s.Registry(),
		Pull: req.Policy, User: caller.Caller, Process: caller.Own(), Progress: req.Progress,
		Asides: progress.NewAsides(req.Progress),
	})}
	names := []string{req.Image}
	if req.AllTags {
		if names, err = tags(ctx, s, d, req.Image); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		var pulled Pulled
		if pulled, err = p.pull(ctx, name); err != nil {
			break
		}
		all = append(all, pulled)
	}
	return all, errors.Join(err, d.Store.Parts().Durable.Settle()) // those before the one that failed stay
}

// Look gives the text of the manifest or index that a registry has under a name, and pulls nothing.
func Look(ctx context.Context, s *session.Session, name string) ([]byte, error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return nil, err
	}
	found, err := d.Pull.Look(ctx, name, pull.Options{Registry: s.Registry().Options()})
	return found.Text, s.Explain(err)
}

// tags are the full names of all images in the repository of a name.
func tags(ctx context.Context, s *session.Session, d *depot.Depot, name string) (names []string, err error) {
	client, err := registry.NewClient(s.Registry().Options())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	short, err := d.Images.ShortNames()
	if err != nil {
		return nil, err
	}
	refs, err := short.PullCandidates(name)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, ref := range refs {
		all, err := client.Tags(ctx, ref)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s has no tags", ref.Repository())
		}
		for _, tag := range all {
			names = append(names, reference.Reference{Domain: ref.Domain, Path: ref.Path, Tag: tag}.String())
		}
		return names, nil
	}
	return nil, errors.Join(errs...)
}

type puller struct {
	Request
	depot *depot.Depot
	from  *bases.Resolver
}

// pull pulls the images of one name.
func (p puller) pull(ctx context.Context, name string) (Pulled, error) {
	wanted, asked := p.Platforms, true
	if p.AllPlatforms {
		var err error
		if wanted, err = p.from.Platforms(ctx, name); err != nil {
			return Pulled{}, err
		}
	}
	if len(wanted) == 0 {
		wanted, asked = []ocispec.Platform{platforms.DefaultSpec()}, false
	}
	var found []imagebuilder.Base
	for _, platform := range wanted {
		base, err := p.from.Resolve(ctx, name, plan.Wanted{Platform: platform, Asked: asked})
		if err != nil {
			return Pulled{}, err
		}
		found = append(found, base)
	}
	if len(found) == 1 {
		return Pulled{found[0].ID, found[0].Name}, nil
	}
	return p.index(ctx, found)
}

// index makes the name lead to an index of the images.
func (p puller) index(ctx context.Context, found []imagebuilder.Base) (Pulled, error) {
	record := images.IndexRecord{Format: imagebuilder.OCI, Names: []string{found[0].Name}}
	seen := map[string]bool{}
	for _, base := range found {
		if seen[base.ID] {
			return Pulled{}, fmt.Errorf("%s has the same image for several of the platforms", base.Name)
		}
		seen[base.ID] = true
		record.Images = append(record.Images, images.IndexedImage{ID: base.ID, Platform: base.Image.Platform})
		if base.Image.Created != nil && base.Image.Created.After(record.Created) {
			record.Created = *base.Image.Created
		}
	}
	if record.Created.IsZero() {
		record.Created = time.Now().UTC()
	}
	index, err := p.depot.Images.PutIndex(ctx, record)
	if err != nil {
		return Pulled{}, err
	}
	return Pulled{index.Encoded(), record.Names[0]}, nil
}
