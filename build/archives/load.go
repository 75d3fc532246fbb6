package archives

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/imagetar"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/internal/printable"
)

// LoadRequest says what is loaded.
type LoadRequest struct {
	// Path is the file or directory with images; empty: Stdin has them.
	Path  string
	Stdin *os.File
	// Only is the name or tag of the only image that is loaded; empty: all are.
	Only string
	// Platform chooses among the images of an index; nil: this machine's.
	Platform *ocispec.Platform
	// AllPlatforms loads all images of an index that are for a platform, and the index.
	AllPlatforms bool
	// Loaded is called after each image; nil: nothing is.
	Loaded func(Loaded)
	// Progress receives the events; nil: they are dropped.
	Progress progress.Sink
}

// stdin is what messages call LoadRequest.Stdin.
const stdin = "standard input"

// Loaded is an image that was loaded, by its ID and the full names that it got.
type Loaded struct {
	ID    string
	Names []string
}

// Load puts the images of a file or directory into the session's store. An image that can't be loaded ends it; those
// before it stay.
func Load(ctx context.Context, s *session.Session, req LoadRequest) (err error) {
	if req.Progress == nil {
		req.Progress = progress.Discard{}
	}
	if req.Loaded == nil {
		req.Loaded = func(Loaded) {}
	}
	d, err := s.Depot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = s.Explain(err) }()
	end, err := d.Removal.BeginBuild(ctx) // until end is called, nothing of the images is removed
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()

	spool := func() (*os.File, error) { return outfile.Unnamed(d.Store.Paths().Own) }
	var f *imagetar.File
	if req.Path == "" {
		f, err = imagetar.Read(ctx, stdin, req.Stdin, spool)
	} else {
		f, err = imagetar.Open(ctx, req.Path, spool)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := f.Images()
	if err != nil {
		return err
	}
	if all, err = req.only(all); err != nil {
		return err
	}
	// Every name is looked at before the first image is loaded.
	names := make([][]string, len(all))
	for i, image := range all {
		if names[i], err = namesOf(image); err != nil {
			return err
		}
	}
	l := loader{LoadRequest: req, session: s, depot: d, from: f, shown: progress.NewAsides(req.Progress)}
	for i, image := range all {
		if err = l.load(ctx, image, names[i]); err != nil {
			break
		}
	}
	return errors.Join(err, d.Store.Parts().Durable.Settle()) // those before the one that failed stay
}

// namesOf are the full names of an image in a file.
func namesOf(image imagetar.Image) (full []string, err error) {
	for _, n := range image.Names {
		ref, err := reference.Parse(n)
		if err != nil {
			return nil, fmt.Errorf("the name %q of an image: %s", printable.Clip(n), printable.Clip(err.Error()))
		}
		if ref.Digest != "" {
			continue
		}
		name := ref.WithLatest().String()
		if !image.Docker {
			if name, err = images.NormalizeName(n); err != nil {
				return nil, err
			}
		}
		full = append(full, name)
	}
	return full, nil
}

// only are the images that a request asks for.
func (req LoadRequest) only(all []imagetar.Image) ([]imagetar.Image, error) {
	if req.Only == "" {
		return all, nil
	}
	var have []string
	for _, image := range all {
		names, err := namesOf(image)
		if err != nil {
			return nil, err
		}
		for _, n := range append(names, image.Names...) {
			full, err := images.NormalizeName(req.Only)
			if n == req.Only || err == nil && n == full || image.Tag == req.Only {
				image.Names = []string{n}
				return []imagetar.Image{image}, nil
			}
		}
		if image.Tag == req.Only && image.Tag != "" {
			return []imagetar.Image{image}, nil
		}
		have = append(have, names...)
	}
	has := "it has none with a name"
	if len(have) > 0 {
		has = "it has " + strings.Join(have, " ")
	}
	return nil, fmt.Errorf("%s has no image %s, %s", cmp.Or(req.Path, stdin), req.Only, has)
}

type loader struct {
	LoadRequest
	session *session.Session
	depot   *depot.Depot
	from    *imagetar.File
	shown   progress.Asides
}

func (l loader) load(ctx context.Context, image imagetar.Image, names []string) error {
	caller, err := l.session.Caller()
	if err != nil {
		return err
	}
	o := pull.CopyOptions{Platform: platforms.DefaultSpec(), Lasting: true, Mapping: caller.Own()}
	if l.Platform != nil {
		o.Platform = *l.Platform
	}
	what := image.Root.Digest.String()
	if len(names) > 0 {
		o.Name, what = names[0], names[0]
	}
	shown := l.shown.Begin("loading " + what)
	o.Progress = shown.Transfer
	id, err := l.copy(ctx, image.Root, names, o)
	shown.End(ctx, err)
	if err != nil {
		return fmt.Errorf("load %s: %w", what, bases.Explain(ctx, err, caller.Caller, caller.Own()))
	}
	if len(names) > 1 {
		if err := l.depot.Images.Tag(ctx, id, names[1:]); err != nil {
			return err
		}
	}
	l.Loaded(Loaded{id, names})
	return nil
}

// copy copies an image, or an index and its images, and gives its ID.
func (l loader) copy(ctx context.Context, root ocispec.Descriptor, names []string, o pull.CopyOptions) (id string,
	err error) {
	var entries []ocispec.Descriptor
	if l.AllPlatforms {
		if _, entries, err = content.ReadRoot(ctx, l.from, root); err != nil {
			return "", err
		}
	}
	if entries == nil {
		found, err := l.depot.Pull.Copy(ctx, l.from, root, o)
		return found.ID, err
	}
	record := images.IndexRecord{Format: imagebuilder.OCI, Created: time.Now().UTC()}
	if root.MediaType == imagebuilder.TypeDockerList {
		record.Format = imagebuilder.Docker
	}
	if len(names) > 0 {
		record.Names = names[:1]
	}
	o.Name = ""
	for _, d := range entries {
		if d.Platform == nil || d.Platform.OS == "unknown" || !content.IsManifest(d.MediaType) {
			continue // an attestation, for example
		}
		o.Platform = *d.Platform
		found, err := l.depot.Pull.Copy(ctx, l.from, d, o)
		if err != nil {
			return "", err
		}
		record.Images = append(record.Images,
			images.IndexedImage{ID: found.ID, Platform: *d.Platform, Annotations: d.Annotations})
	}
	if len(record.Images) == 0 {
		return "", errors.New("its index has no images for a platform")
	}
	index, err := l.depot.Images.PutIndex(ctx, record)
	return index.Encoded(), err
}
