package content

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/internal/printable"
)

// Layout is an OCI layout directory. See https://github.com/opencontainers/image-spec/blob/main/image-layout.md
type Layout struct {
	dir  *os.Root
	name string
}

var _ Fetcher = (*Layout)(nil)

// OpenLayout opens a layout. Nothing outside its directory is ever read, whatever the links in it say. The caller
// closes it.
func OpenLayout(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open OCI layout: %w", err)
	}
	l := &Layout{dir: root, name: dir}
	var marker ocispec.ImageLayout
	if err := l.decode(ocispec.ImageLayoutFile, &marker); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not an OCI layout: %w", dir, err), root.Close())
	}
	if !strings.HasPrefix(marker.Version, "1.") {
		return nil, errors.Join(fmt.Errorf("OCI layout %s is of version %q, only 1 is known", dir,
			printable.Clip(marker.Version)),
			root.Close())
	}
	return l, nil
}

// Close closes the layout.
func (l *Layout) Close() error { return l.dir.Close() }

// LayoutName is what DIR[:TAG][@DIGEST] names: an image of a layout.
type LayoutName struct {
	Dir, Tag string
	Digest   digest.Digest
}

// ParseLayoutName splits a name. A colon before a slash belongs to the directory.
func ParseLayoutName(text string) (LayoutName, error) {
	n := LayoutName{Dir: text}
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		n.Dir, n.Digest = text[:at], digest.Digest(text[at+1:])
		if err := n.Digest.Validate(); err != nil {
			return LayoutName{}, fmt.Errorf("%q: %q is not a digest: %w", text, text[at+1:], err)
		}
	}
	if colon := strings.LastIndexByte(n.Dir, ':'); colon > strings.LastIndexByte(n.Dir, '/') {
		n.Dir, n.Tag = n.Dir[:colon], n.Dir[colon+1:]
	}
	if n.Dir == "" {
		return LayoutName{}, fmt.Errorf("%q names no directory", text)
	}
	return n, nil
}

// Resolve finds an image by digest or, without one, by tag. Without a tag either it is the only image, or the one that
// is called latest.
func (l *Layout) Resolve(tag string, d digest.Digest) (ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := l.decode(ocispec.ImageIndexFile, &index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("OCI layout %s: %w", l.name, err)
	}
	if d != "" {
		return l.resolveDigest(index, d)
	}
	wanted := tag
	if wanted == "" {
		if len(index.Manifests) == 1 {
			return index.Manifests[0], nil
		}
		wanted = "latest"
	}
	var tags []string
	for _, m := range index.Manifests {
		name := m.Annotations[ocispec.AnnotationRefName]
		if name == wanted || strings.HasSuffix(name, ":"+wanted) {
			return m, nil
		}
		tags = append(tags, name)
	}
	return ocispec.Descriptor{}, fmt.Errorf("OCI layout %s has no image %q, it has %q: %w", l.name, wanted,
		printable.Clip(strings.Join(tags, " ")), ErrNotFound)
}

// resolveDigest finds an image that index.json names, or else any manifest among the blobs.
func (l *Layout) resolveDigest(index ocispec.Index, d digest.Digest) (ocispec.Descriptor, error) {
	for _, m := range index.Manifests {
		if m.Digest == d {
			return m, nil
		}
	}
	info, err := l.dir.Stat(blobPath(d))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("OCI layout %s has no image %s: %w", l.name, d, ErrNotFound)
	}
	return ocispec.Descriptor{Digest: d, Size: info.Size()}, nil
}

// Fetch opens a blob.
func (l *Layout) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", printable.Clip(d.Digest.String()), err)
	}
	f, err := l.open(blobPath(d.Digest))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("OCI layout %s has no blob %s: %w", l.name, d.Digest, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if err := l.CheckSize(d); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// CheckSize refuses a descriptor that gives a blob another size than it has. Of a blob that isn't
// there it accepts any size.
func (l *Layout) CheckSize(d ocispec.Descriptor) error {
	if err := checkSizes(d); err != nil {
		return err
	}
	if info, err := l.dir.Stat(blobPath(d.Digest)); err == nil && info.Size() != d.Size {
		return SizeIs(d, info.Size())
	}
	return nil
}

func blobPath(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// open opens a regular file of the layout; a pipe would wait for a writer.
func (l *Layout) open(name string) (*os.File, error) {
	info, err := l.dir.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return l.dir.Open(name)
}

func (l *Layout) decode(name string, into any) error {
	f, err := l.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return err
	}
	if len(text) > MaxManifest {
		return fmt.Errorf("%s is longer than %d bytes", name, MaxManifest)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
