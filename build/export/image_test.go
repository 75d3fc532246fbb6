package export

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestManifestHasSortedAnnotationsAndNoEscapes(t *testing.T) {
	image := imageOf(t, blobOf(layerTar(t, "a", 1000)))
	image.Annotations = map[string]string{"b": "<2>", "a": "1"}
	layer := image.Layers[0]
	d, text, err := image.Manifest([]ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.DiffID, Size: layer.Size}}, imagebuilder.OCI)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` +
		digest.FromBytes(image.Config).String() + `","size":` + fmt.Sprint(len(image.Config)) +
		`},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` +
		layer.DiffID.String() + `","size":2560}],"annotations":{"a":"1","b":"<2>"}}`
	if string(text) != want || d.Digest != digest.FromString(want) || d.Size != int64(len(want)) {
		t.Errorf("got %s\nwant %s", text, want)
	}
	if err := (Image{Config: image.Config}).Check(); err == nil {
		t.Error("no error for a config with other layers")
	}
}
