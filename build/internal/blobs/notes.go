package blobs

import (
	"strconv"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
)

// Notes record, in the cache, the digest and size of the blob that each layer was compressed to.
type Notes struct{ Cache *cache.Cache }

func noteKey(l export.Blob, c export.Codec) cache.Key {
	return cache.NewKey("blob").Add("diffID", l.DiffID.String()).
		Add("codec", string(c.Kind), strconv.Itoa(c.Level)).Key()
}

// Get describes the blob that a layer was compressed to by the codec, if that is noted.
func (n Notes) Get(l export.Blob, c export.Codec) (ocispec.Descriptor, bool) {
	rec := n.Cache.Get(noteKey(l, c))
	if rec == nil || rec.Blob == nil || rec.Blob.Digest.Validate() != nil {
		return ocispec.Descriptor{}, false
	}
	return ocispec.Descriptor{MediaType: c.MediaType(), Digest: rec.Blob.Digest, Size: rec.Blob.Size,
		Annotations: rec.Blob.Annotations}, true
}

// Put notes the blob that a layer was compressed to by the codec.
func (n Notes) Put(l export.Blob, c export.Codec, d ocispec.Descriptor) error {
	return n.Cache.Put(noteKey(l, c), cache.Record{
		Layer:   &cache.Layer{ID: l.ID, DiffID: l.DiffID, Size: l.Size},
		Blob:    &cache.Blob{Digest: d.Digest, Size: d.Size, Annotations: d.Annotations},
		Created: time.Now().UTC(), Step: "layer compressed",
	})
}
