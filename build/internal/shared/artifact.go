package shared

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/printable"
)

// foreignError says that a place holds something that is no cache of this program.
type foreignError struct {
	mediaType string
	// cache tells that it is the cache of another builder, which may be replaced.
	cache bool
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("what is there is no cache of cooper: its type is %q", e.mediaType)
}

// anything is the text of a manifest or index, of whatever kind.
type anything struct {
	Config    ocispec.Descriptor   `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// readArtifact reads the index of the artifact that a manifest describes.
func readArtifact(ctx context.Context, src content.Fetcher, root ocispec.Descriptor) (*index, error) {
	text, err := content.ReadAll(ctx, src, root, content.MaxManifest)
	if err != nil {
		return nil, err
	}
	var m anything
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("the manifest of the cache: %w", err)
	}
	if m.Config.MediaType != indexType {
		return nil, m.foreign(root)
	}
	if text, err = content.ReadAll(ctx, src, m.Config, maxIndex); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return parseIndex(text)
}

// errDamaged is behind the errors about an index that can't be read.
var errDamaged = errors.New("the index of the cache is damaged")

// foreign is the error about another kind of thing than a cache of this program.
func (m anything) foreign(root ocispec.Descriptor) error {
	e := &foreignError{mediaType: printable.Clip(root.MediaType)}
	if m.Config.MediaType != "" {
		e.mediaType = printable.Clip(m.Config.MediaType)
	}
	for _, d := range append(m.Manifests, m.Config) {
		e.cache = e.cache || strings.HasPrefix(d.MediaType, "application/vnd.buildkit.cacheconfig.")
	}
	return e
}

// artifact is what is written to a place.
type artifact struct {
	index, manifest []byte
}

func (a artifact) indexDescriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: indexType, Digest: digest.FromBytes(a.index), Size: int64(len(a.index))}
}

func (a artifact) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Digest: digest.FromBytes(a.manifest), Size: int64(len(a.manifest))}
}

// newArtifact makes the artifact of an index.
func newArtifact(x *index) (a artifact, err error) {
	if a.index, err = json.Marshal(x); err != nil {
		return a, fmt.Errorf("encode the index of the cache: %w", err)
	}
	layers := x.blobs()
	if layers == nil {
		layers = []ocispec.Descriptor{}
	}
	a.manifest, err = export.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: a.indexDescriptor(), Layers: layers,
	})
	if err != nil {
		return a, fmt.Errorf("encode the manifest of the cache: %w", err)
	}
	if len(a.index) > maxIndex || len(a.manifest) > content.MaxManifest {
		return a, errors.New("the index of the cache has grown too long: use another name")
	}
	return a, nil
}
