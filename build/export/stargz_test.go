package export

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestAnImageInEStargzListsTheLayersThatItHas and is the same each time but for these.
func TestAnImageInEStargzListsTheLayersThatItHas(t *testing.T) {
	image := sampleImage(t)
	var first map[string][]byte
	for range 2 {
		dest := filepath.Join(t.TempDir(), "out")
		result := write(t, Spec{Type: TypeOCI, Dest: dest, Directory: true, Compression: EStargz}, image)
		files := readDir(t, dest)
		var m ocispec.Manifest
		var config, before ocispec.Image
		decode(t, checkedBlob(t, files, result.Manifest), &m)
		text := checkedBlob(t, files, m.Config)
		decode(t, text, &config)
		decode(t, image.Config, &before)
		if result.ImageID != m.Config.Digest || result.ImageID == digest.FromBytes(image.Config) {
			t.Errorf("the image is %s", result.ImageID)
		}
		if config.Created == nil || !config.Created.Equal(*before.Created) || config.Architecture != before.Architecture {
			t.Errorf("the config is %s", text)
		}
		for i, l := range m.Layers {
			z, err := gzip.NewReader(bytes.NewReader(checkedBlob(t, files, l)))
			if err != nil {
				t.Fatal(err)
			}
			layer, err := io.ReadAll(z)
			id := digest.FromBytes(layer)
			if err != nil || id != config.RootFS.DiffIDs[i] || id == image.Layers[i].DiffID {
				t.Errorf("layer %d is %s, and %s in the config: %v", i, id, config.RootFS.DiffIDs[i], err)
			}
			if !(Codec{Kind: EStargz}).Makes(l) || digest.Digest(l.Annotations[stargzTable]).Validate() != nil {
				t.Errorf("layer %d is %+v", i, l)
			}
			l.Annotations = nil
			if (Codec{Kind: EStargz}).Makes(l) {
				t.Errorf("layer %d without its table is taken for eStargz", i)
			}
		}
		if first == nil {
			first = files
		}
		for name, text := range files {
			if !bytes.Equal(first[name], text) {
				t.Errorf("%s is not the same each time", name)
			}
		}
	}
}

func decode(t *testing.T, text []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(text, to); err != nil {
		t.Fatal(err)
	}
}

// TestAConfigListsWhatABlobIsOnlyIfItWasMadeHere since a registry may say anything of the blobs of a base.
func TestAConfigListsWhatABlobIsOnlyIfItWasMadeHere(t *testing.T) {
	image := sampleImage(t)
	var layers []ocispec.Descriptor
	for i := range image.Layers {
		d := ocispec.Descriptor{Digest: digest.FromString(string(rune('a' + i))),
			Annotations: map[string]string{stargzID: digest.FromString("another").String()}}
		image.Layers[i].Came, layers = d, append(layers, d)
	}
	same, err := image.As(layers)
	if err != nil || !bytes.Equal(same.Config, image.Config) {
		t.Errorf("of blobs that were pulled: %s, %v", same.Config, err)
	}
	image.Layers[1].Came.Digest = ""
	other, err := image.As(layers)
	var config ocispec.Image
	decode(t, other.Config, &config)
	for i, id := range config.RootFS.DiffIDs {
		if made := id == digest.FromString("another"); err != nil || made != (i == 1) {
			t.Errorf("layer %d is %s: %v", i, id, err)
		}
	}
	image.Config = []byte(strings.Replace(string(image.Config), `"rootfs"`, `"other"`, 1))
	if _, err := image.As(layers); err == nil {
		t.Error("a config without layers is taken")
	}
}
