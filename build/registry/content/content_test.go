package content_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func amd64() ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: "amd64"} }

// blobs are contents by their digests.
type blobs map[digest.Digest][]byte

func (b blobs) put(t *testing.T, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	text, ok := v.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	b[d.Digest] = text
	return d
}

func (b blobs) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	text, ok := b[d.Digest]
	if !ok {
		return nil, content.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// image puts the manifest, the config and the one layer of an image.
func (b blobs) image(t *testing.T, layer []byte, p ocispec.Platform) ocispec.Descriptor {
	t.Helper()
	config := ocispec.Image{Platform: p}
	config.RootFS.DiffIDs = []digest.Digest{digest.FromBytes(layer)}
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: b.put(t, ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{b.put(t, ocispec.MediaTypeImageLayer, layer)},
	}
	m.SchemaVersion = 2
	d := b.put(t, m.MediaType, m)
	d.Platform = &p
	return d
}

func TestThePlatformIsChosen(t *testing.T) {
	has := blobs{}
	var all []ocispec.Descriptor
	for _, p := range []string{"unknown/unknown", "windows/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8",
		"linux/amd64", "linux/amd64/v3", "linux/riscv64"} {
		all = append(all, has.image(t, []byte(p), platform(p)))
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: all}
	index.SchemaVersion = 2
	root := has.put(t, index.MediaType, index)
	for want, got := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/amd64/v2": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"linux/amd64/v4": "linux/amd64/v3",
		"linux/arm64":    "linux/arm64/v8", "linux/arm/v6": "linux/arm/v5", "linux/arm": "linux/arm/v7",
		"linux/arm/v8": "linux/arm/v7",
		"linux/s390x":  "", "linux/386": "", "windows/arm64": "", "linux/riscv64": "linux/riscv64",
	} {
		img, err := content.ReadImage(t.Context(), has, root, platform(want))
		switch {
		case got == "":
			registrytest.Wants(t, err, "no image for "+want, "linux/riscv64")
		case err != nil:
			t.Errorf("%s: %v", want, err)
		case img.DiffIDs[0] != digest.FromString(got):
			t.Errorf("%s: another image than %s", want, got)
		case img.Index == nil:
			t.Errorf("%s: the index is not kept", want)
		}
	}
}

func platform(text string) ocispec.Platform {
	parts := strings.Split(text+"//", "/")
	return ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
}

func TestConfigsOfOldImagesAreRead(t *testing.T) {
	const docker, oci = "application/vnd.docker.distribution.manifest.v2+json", ocispec.MediaTypeImageManifest
	for _, c := range []struct {
		manifest, config string
		want             []string
	}{
		{docker, "application/octet-stream", nil}, {docker, "application/json", nil}, {docker, "text/html", nil},
		{docker, "", nil},
		{docker, ocispec.MediaTypeImageConfig, nil}, {oci, "application/vnd.docker.container.image.v1+json", nil},
		{docker, "application/vnd.cncf.helm.config.v1+json", []string{"no container image", "helm"}},
		{oci, "application/json", []string{"no container image"}}, {oci, "application/vnd.oci.empty.v1+json",
			[]string{"no container image"}},
	} {
		t.Run(c.manifest+" "+c.config, func(t *testing.T) {
			has := blobs{}
			layer := []byte("x")
			m := ocispec.Manifest{MediaType: c.manifest,
				Layers: []ocispec.Descriptor{has.put(t, "application/vnd.docker.image.rootfs.diff.tar", layer)}}
			m.SchemaVersion = 2
			m.Config = has.put(t, c.config, []byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":["`+
				digest.FromBytes(layer).String()+`"]}}`))
			_, err := content.ReadImage(t.Context(), has, has.put(t, m.MediaType, m), amd64())
			registrytest.Wants(t, err, c.want...)
		})
	}
}
