package index

import (
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestRecordsInAnImageThatAreImpossibleAreRefused(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x")
	image := func(record string) *content.Image {
		return &content.Image{DiffIDs: []digest.Digest{d}, Layers: []ocispec.Descriptor{
			{MediaType: imagebuilder.TypeDockerLayer + ".gzip", Digest: d, Size: 2}},
			Config: fmt.Appendf(nil, `{"cooper.cache.v1":{"version":1,"records":{%q:%s}}}`, key("a"), record)}
	}
	x, err := OfImage(image(fmt.Sprintf(`{"created":"2026-01-01T00:00:00Z","shape":%q,"layer":1,"size":3,"content":%q}`,
		key("s"), d)))
	if err != nil || len(x.Records) != 1 || x.Records[key("a")].Layer.Blob.MediaType != ocispec.MediaTypeImageLayerGzip {
		t.Fatal(x, err)
	}
	for what, record := range map[string]string{
		"no shape": `{"layer":0,"created":"2026-01-01T00:00:00Z"}`,
		"no time":  fmt.Sprintf(`{"layer":0,"shape":%q}`, key("s")),
		"no layer of its": fmt.Sprintf(`{"created":"2026-01-01T00:00:00Z","shape":%q,"layer":2,"content":%q}`, key("s"),
			d),
		"a layer before all": fmt.Sprintf(`{"created":"2026-01-01T00:00:00Z","shape":%q,"layer":-1,"content":%q}`, key("s"),
			d),
		"no content":         fmt.Sprintf(`{"created":"2026-01-01T00:00:00Z","shape":%q,"layer":1}`, key("s")),
		"no JSON of records": `7`,
	} {
		if x, err := OfImage(image(record)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", what, x, err)
		}
	}
	if x, err := OfImage(&content.Image{Config: []byte(`{}`)}); x != nil || err != nil {
		t.Error(x, err)
	}
}
