package manifestlist

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// ErrExists says that a name has a manifest list or an image already.
var ErrExists = errors.New("is there already")

// ErrNoList says that an image is no manifest list.
var ErrNoList = images.ErrNoList

// Change says what an entry of a list tells of its image; what is zero stays as it is.
type Change struct {
	OS, Arch, Variant, OSVersion string
	OSFeatures                   []string
	// Features are what the image needs of the machine's processor.
	Features []string
	// Annotations are added to the entry's.
	Annotations map[string]string
}

// edit calls f with the list of a name and saves the list after it. With create a list that isn't there is made.
func edit(ctx context.Context, s *session.Session, name string, create bool,
	f func(*depot.Depot, *images.ManifestList) error) (id string, err error) {
	open := s.Existing
	if create {
		open = s.Depot
	}
	d, err := open(ctx)
	if err != nil {
		return "", err
	}
	if d == nil {
		return "", fmt.Errorf("%s: %w", name, images.ErrNoImage)
	}
	defer func() { err = s.Explain(err) }()
	end, err := d.Removal.BeginBuild(ctx) // until end is called, nothing that the list names is removed
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, end()) }()
	l, err := d.Images.OpenList(name)
	if create && errors.Is(err, images.ErrNoImage) {
		l, err = images.ManifestList{Images: map[digest.Digest]string{}}, nil
		l.Name, err = images.NormalizeName(name)
	}
	if err == nil {
		err = f(d, &l)
	}
	if err != nil {
		return "", err
	}
	if err = settle(&l); err != nil {
		return "", err
	}
	if id, err = d.Images.SaveList(ctx, l); err != nil {
		return "", err
	}
	return id, d.Store.Parts().Durable.Settle()
}

// settle gives an index the format of its entries: docker's if all are docker's and it says nothing that docker's
// can't, or if it says something that only docker's can.
func settle(l *images.ManifestList) error {
	index, format := &l.Index, imagebuilder.Docker
	if len(index.Manifests) == 0 || len(index.Annotations) > 0 {
		format = imagebuilder.OCI
	}
	for _, d := range index.Manifests {
		if d.MediaType != imagebuilder.Docker.Manifest() || len(d.Annotations) > 0 {
			format = imagebuilder.OCI
		}
	}
	if len(l.Features) > 0 {
		annotated := func(d ocispec.Descriptor) bool { return len(d.Annotations) > 0 }
		if len(index.Annotations) > 0 || slices.ContainsFunc(index.Manifests, annotated) {
			return fmt.Errorf("manifest list %s has annotations, which only OCI's indexes can have, and features of processors, "+
				"which only docker's lists can have", l.Name)
		}
		format = imagebuilder.Docker
	}
	index.Versioned, index.MediaType = specs.Versioned{SchemaVersion: 2}, format.Index()
	if index.Manifests == nil {
		index.Manifests = []ocispec.Descriptor{}
	}
	return nil
}

// CreateOptions say how a list is made.
type CreateOptions struct {
	// Amend takes a list that is there already; else that is ErrExists.
	Amend bool
	// All takes all images of an index among those that are added; else the one for this machine's platform.
	All bool
	// Annotations are those of the index.
	Annotations map[string]string
}

// Create makes a list of images of the store, and gives its ID.
func Create(ctx context.Context, s *session.Session, name string, from []string, o CreateOptions) (id string,
	err error) {
	return edit(ctx, s, name, true, func(d *depot.Depot, l *images.ManifestList) error {
		if l.ID != "" && !o.Amend {
			return fmt.Errorf("manifest list %s %w\nhint: --amend adds to it", l.Name, ErrExists)
		}
		annotate(&l.Index.Annotations, o.Annotations)
		return add(ctx, d, l, from, AddOptions{All: o.All})
	})
}

// AddOptions say what is added to a list.
type AddOptions struct {
	// All takes all images of an index; else the one for this machine's platform.
	All bool
	// Change is made to each entry that is added.
	Change Change
	// Create makes a list that isn't there.
	Create bool
}

// Add adds images of the store to a list, and gives its ID. An image that is in it already gets the changes.
func Add(ctx context.Context, s *session.Session, name string, from []string, o AddOptions) (id string, err error) {
	return edit(ctx, s, name, o.Create, func(d *depot.Depot, l *images.ManifestList) error {
		return add(ctx, d, l, from, o)
	})
}

func add(ctx context.Context, d *depot.Depot, l *images.ManifestList, from []string, o AddOptions) error {
	for _, image := range from {
		names := []string{image}
		if o.All {
			inner, err := d.Images.OpenList(image)
			switch {
			case errors.Is(err, images.ErrNoList):
			case err != nil:
				return err
			case inner.ID == l.ID:
				return fmt.Errorf("manifest list %s can't have itself", l.Name)
			default:
				if names, err = whole(inner); err != nil {
					return err
				}
			}
		}
		for _, n := range names {
			entry, id, err := d.Images.EntryOf(ctx, n, platforms.DefaultSpec())
			if err != nil {
				return err
			}
			put(l, entry, id, o.Change)
		}
	}
	return nil
}

// whole are the IDs of all images of a list, which the store must have.
func whole(l images.ManifestList) (ids []string, err error) {
	for _, d := range l.Index.Manifests {
		id, there := l.Images[d.Digest]
		if !there {
			return nil, fmt.Errorf("image %s of the index %s: %w", d.Digest, l.Name, images.ErrNoImage)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// put adds an entry, or takes it for the one that is there.
func put(l *images.ManifestList, entry ocispec.Descriptor, id string, change Change) {
	at := slices.IndexFunc(l.Index.Manifests, func(d ocispec.Descriptor) bool { return d.Digest == entry.Digest })
	if at < 0 {
		at = len(l.Index.Manifests)
		l.Index.Manifests = append(l.Index.Manifests, entry)
	}
	l.Images[entry.Digest] = id
	change.apply(l, at)
}

// apply changes an entry of a list.
func (c Change) apply(l *images.ManifestList, at int) {
	d := &l.Index.Manifests[at]
	if len(c.Features) > 0 {
		if l.Features == nil {
			l.Features = imagebuilder.Features{}
		}
		l.Features[d.Digest] = slices.Clone(c.Features)
	}
	p := ocispec.Platform{}
	if d.Platform != nil {
		p = *d.Platform
	}
	for to, value := range map[*string]string{&p.OS: c.OS, &p.Architecture: c.Arch, &p.Variant: c.Variant,
		&p.OSVersion: c.OSVersion} {
		if value != "" {
			*to = value
		}
	}
	if len(c.OSFeatures) > 0 {
		p.OSFeatures = slices.Clone(c.OSFeatures)
	}
	d.Platform = &p
	annotate(&d.Annotations, c.Annotations)
}

func annotate(to *map[string]string, more map[string]string) {
	if len(more) == 0 {
		return
	}
	all := maps.Clone(*to)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	*to = all
}

// Annotate changes the entry of an image, which is given by its name or ID or the digest of its manifest, and gives
// the list's ID. Without an image the annotations are the index's.
func Annotate(ctx context.Context, s *session.Session, name, image string, change Change) (id string, err error) {
	return edit(ctx, s, name, false, func(d *depot.Depot, l *images.ManifestList) error {
		if image == "" {
			annotate(&l.Index.Annotations, change.Annotations)
			return nil
		}
		at, err := entryOf(d, *l, image)
		if err != nil {
			return err
		}
		change.apply(l, at)
		return nil
	})
}

// Remove takes the entry of an image from a list, and gives its ID. The image stays in the store.
func Remove(ctx context.Context, s *session.Session, name, image string) (id string, err error) {
	return edit(ctx, s, name, false, func(d *depot.Depot, l *images.ManifestList) error {
		at, err := entryOf(d, *l, image)
		if err != nil {
			return err
		}
		delete(l.Images, l.Index.Manifests[at].Digest)
		delete(l.Features, l.Index.Manifests[at].Digest)
		l.Index.Manifests = slices.Delete(l.Index.Manifests, at, at+1)
		return nil
	})
}

// entryOf is the index of an image's entry.
func entryOf(d *depot.Depot, l images.ManifestList, image string) (int, error) {
	id, _, lookErr := d.Images.LookUp(image)
	for at, e := range l.Index.Manifests {
		if e.Digest.String() == image || lookErr == nil && l.Images[e.Digest] == id {
			return at, nil
		}
	}
	if lookErr != nil && digest.Digest(image).Validate() != nil {
		return 0, lookErr
	}
	return 0, fmt.Errorf("manifest list %s has no image %s\nhint: cooper manifest inspect %[1]s shows what it has", l.Name,
		image)
}

// Inspect gives the text of a list of the store. The error is images.ErrNoImage if there is none of the name, and
// images.ErrNoList if it is an image.
func Inspect(ctx context.Context, s *session.Session, name string) (text []byte, err error) {
	d, err := s.Existing(ctx)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, fmt.Errorf("%s: %w", name, images.ErrNoImage)
	}
	l, err := d.Images.OpenList(name)
	return l.Text, s.Explain(err)
}

// Exists tells whether the store has a list of the name.
func Exists(ctx context.Context, s *session.Session, name string) (bool, error) {
	_, err := Inspect(ctx, s, name)
	if errors.Is(err, images.ErrNoImage) || errors.Is(err, images.ErrNoList) {
		return false, nil
	}
	return err == nil, err
}
