package export

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage/pkg/chunked/toc"
)

// TestChunkedLayersHaveATableOfTheirFiles reads the descriptors as containers/storage does, which fetches only the
// files that it lacks.
func TestChunkedLayersHaveATableOfTheirFiles(t *testing.T) {
	image := sampleImage(t)
	var first map[string][]byte
	for range 3 {
		dest := filepath.Join(t.TempDir(), "out")
		result := write(t, Spec{Type: TypeOCI, Dest: dest, Directory: true, Compression: ZstdChunked}, image)
		files := readDir(t, dest)
		checkLayout(t, files, indexOf(t, files).Manifests[0], image)
		var m ocispec.Manifest
		if err := json.Unmarshal(checkedBlob(t, files, result.Manifest), &m); err != nil {
			t.Fatal(err)
		}
		for i, l := range m.Layers {
			d, err := toc.GetTOCDigest(l.Annotations)
			if err != nil || d == nil || l.MediaType != ocispec.MediaTypeImageLayerZstd {
				t.Errorf("layer %d is %+v: %v, %v", i, l, d, err)
			}
			if chunked := (Codec{Kind: ZstdChunked}); !chunked.Makes(l) || !(Codec{Kind: Zstd}).Makes(l) {
				t.Errorf("layer %d is not known for what it is", i)
			}
			l.Annotations = nil
			if (Codec{Kind: ZstdChunked}).Makes(l) {
				t.Errorf("layer %d without its table is taken for chunked", i)
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
