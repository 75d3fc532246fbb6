package shared

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/shared/index"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/printable"
)

// artifactType is that of the artifact of a place, whose config is the index.
const artifactType = "application/vnd.cooper.cache.v1"

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
	// Annotations have the signature of the index.
	Annotations map[string]string `json:"annotations"`
}

// signature is the annotation of a manifest with the signature of the index, in base64.
const signature = "org.cooperbuild.cache.signature"

// signed is the text that is signed for an index.
func signed(config ocispec.Descriptor) []byte {
	return []byte("cooper cache index 1 " + config.Digest.String())
}

// errUnsigned is behind the errors about an index that the wanted key has not signed.
var errUnsigned = errors.New("the index of the cache is not signed by the key of --cache-key")

// checkSignature refuses what the key has not signed; nil accepts everything.
func (m anything) checkSignature(key *sharedcache.Key) error {
	if key == nil {
		return nil
	}
	sum, err := base64.StdEncoding.DecodeString(m.Annotations[signature])
	if err != nil || !key.Verify(signed(m.Config), sum) {
		return errUnsigned
	}
	return nil
}

// readArtifact reads the index of the artifact that a manifest describes, which a key must have signed unless it is
// nil.
func readArtifact(ctx context.Context, src content.Fetcher, root ocispec.Descriptor,
	key *sharedcache.Key) (*index.Index,
	error) {
	text, err := content.ReadAll(ctx, src, root, content.MaxManifest)
	if err != nil {
		return nil, err
	}
	var m anything
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("the manifest of the cache: %w", err)
	}
	if m.Config.MediaType != index.MediaType {
		x, err := readInline(ctx, src, root)
		if x == nil || err != nil {
			return nil, errors.Join(m.foreign(root), damage(err))
		}
		return x, m.checkSignature(key) // an image has none
	}
	if err := m.checkSignature(key); err != nil {
		return nil, err
	}
	if text, err = content.ReadAll(ctx, src, m.Config, index.MaxSize); err != nil {
		return nil, fmt.Errorf("%w: %w", index.ErrDamaged, err)
	}
	return index.Parse(text)
}

// damage is an error about records in an image; another one says that there is no image, which is said anyway.
func damage(err error) error {
	if errors.Is(err, index.ErrDamaged) {
		return err
	}
	return nil
}

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
	return ocispec.Descriptor{MediaType: index.MediaType, Digest: digest.FromBytes(a.index), Size: int64(len(a.index))}
}

func (a artifact) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Digest: digest.FromBytes(a.manifest), Size: int64(len(a.manifest))}
}

// newArtifact makes the artifact of an index, signed with a key unless it is nil.
func newArtifact(x *index.Index, key *sharedcache.Key) (a artifact, err error) {
	if a.index, err = json.Marshal(x); err != nil {
		return a, fmt.Errorf("encode the index of the cache: %w", err)
	}
	layers := x.Blobs()
	if layers == nil {
		layers = []ocispec.Descriptor{}
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: a.indexDescriptor(), Layers: layers,
	}
	if key != nil {
		sum := key.Sign(signed(m.Config))
		m.Annotations = map[string]string{signature: base64.StdEncoding.EncodeToString(sum)}
	}
	a.manifest, err = export.Marshal(m)
	if err != nil {
		return a, fmt.Errorf("encode the manifest of the cache: %w", err)
	}
	if len(a.index) > index.MaxSize || len(a.manifest) > content.MaxManifest {
		return a, errors.New("the index of the cache has grown too long: use another name")
	}
	return a, nil
}
