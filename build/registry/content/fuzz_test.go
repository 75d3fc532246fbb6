package content_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
)

// texts are blobs by digest.
type texts map[digest.Digest][]byte

func (t texts) add(mediaType string, text []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	t[d.Digest] = text
	return d
}

func (t texts) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(t[d.Digest])), nil
}

// FuzzReadImage reads what a registry says under a name, and a config that a good manifest leads to.
func FuzzReadImage(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"x",`+
		`"size":1,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}`), []byte(`{"os":"linux",`+
		`"rootfs":{"diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"x"},"layers":[{"size":-1}]}`), []byte(`{"created":"x"}`))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[{}]}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, root, config []byte) {
		from := texts{}
		platform := ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
		at := from.add("", root)
		img, err := content.ReadImage(t.Context(), from, at, platform)
		if err == nil && (img.Manifest == nil || len(img.Layers) != len(img.DiffIDs)) {
			t.Errorf("read %+v", img)
		}
		_, _, _ = content.ReadRoot(t.Context(), from, at)

		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: from.add(ocispec.MediaTypeImageConfig,
			config),
			Layers: []ocispec.Descriptor{from.add(ocispec.MediaTypeImageLayerGzip, []byte("layer"))}}
		m.SchemaVersion = 2
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if img, err = content.ReadImage(t.Context(), from, from.add(m.MediaType, text), platform); err == nil &&
			(len(img.DiffIDs) != 1 || img.DiffIDs[0].Validate() != nil) {
			t.Errorf("read the diff IDs %q", img.DiffIDs)
		}
	})
}
