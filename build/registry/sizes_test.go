package registry_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// TestSizesThatCannotBeAreOneError changes the size in each descriptor of an image, in a layout and in a registry.
func TestSizesThatCannotBeAreOneError(t *testing.T) {
	places := map[string]func(*ocispec.Index, *ocispec.Manifest) *ocispec.Descriptor{
		"manifest": func(i *ocispec.Index, _ *ocispec.Manifest) *ocispec.Descriptor { return &i.Manifests[0] },
		"config":   func(_ *ocispec.Index, m *ocispec.Manifest) *ocispec.Descriptor { return &m.Config },
		"layer":    func(_ *ocispec.Index, m *ocispec.Manifest) *ocispec.Descriptor { return &m.Layers[0] },
	}
	for place, find := range places {
		for _, change := range []int64{-1 << 40, -1, +1, 1 << 62} {
			t.Run(fmt.Sprint(place, change), func(t *testing.T) {
				registrytest.Home(t, "")
				f := newFake(t)
				var m ocispec.Manifest
				old := f.image("lib/app", "old", []byte("layer"), amd64())
				if err := json.Unmarshal(f.content["/v2/lib/app/manifests/old"], &m); err != nil {
					t.Fatal(err)
				}
				old.Annotations = map[string]string{ocispec.AnnotationRefName: "1"}
				index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{old}}
				index.SchemaVersion = 2
				if place != "manifest" {
					find(&index, &m).Size += change
					index.Manifests[0] = f.manifest("lib/app", "new", m.MediaType, m)
				} else {
					index.Manifests[0].Size += change
				}
				f.manifest("lib/app", "1", index.MediaType, index)
				dir := t.TempDir()
				for path, text := range f.content {
					registrytest.Write(t, filepath.Join(dir, "blobs/sha256", digest.FromBytes(text).Encoded()), string(text))
					if strings.HasSuffix(path, "/manifests/1") {
						registrytest.Write(t, dir+"/index.json", string(text))
					}
				}
				registrytest.Write(t, dir+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
				_, _, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/lib/app:1"))
				checkSizeError(t, "registry", err)
				l, err := content.OpenLayout(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = l.Close() }() // it is only read
				root, err := l.Resolve("", "")
				if err == nil {
					_, err = content.ReadImage(t.Context(), l, root, amd64())
				}
				checkSizeError(t, "layout", err)
			})
		}
	}
}

func checkSizeError(t *testing.T, where string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "the descriptor of sha256:") &&
		!strings.Contains(err.Error(), "bytes, more than") {
		t.Errorf("%s: %v", where, err)
	}
}
