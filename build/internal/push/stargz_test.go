package push_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// archive is the archive of one file.
func archive(t *testing.T, name string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Size: 4}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestAnImageInEStargzIsPushedWithTheConfigOfItsLayers has an image in Docker's format, which has no annotations.
func TestAnImageInEStargzIsPushedWithTheConfigOfItsLayers(t *testing.T) {
	s := registrytest.New(t)
	o := as(t, setUp(t, s.Host()+"/lib/app:1"), export.Spec{Type: export.TypeRegistry, Compression: export.EStargz})
	var reads opened
	one, two := image(reads.layer(archive(t, "a"))), image(reads.layer(archive(t, "a")), reads.layer(archive(t, "b")))
	one.Format = imagebuilder.Docker
	mustRun(t, o, push.Source{Images: []push.Image{one}})
	m := s.Manifest("lib/app/manifests/1")
	var config ocispec.Image
	if err := json.Unmarshal(s.Content("lib/app/blobs/"+m.Config.Digest.String()), &config); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(s.Content("lib/app/blobs/" + m.Layers[0].Digest.String())))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !strings.HasPrefix(string(text), archive(t, "a")) ||
		digest.FromBytes(text) != config.RootFS.DiffIDs[0] {
		t.Errorf("the layer is %q, and the config lists %s: %v", text, config.RootFS.DiffIDs, err)
	}
	if m.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("the manifest is %s", m.MediaType)
	}
	if again := mustRun(t, o, push.Source{Images: []push.Image{one}}); !again.Unchanged || reads.n != 1 {
		t.Errorf("once more: %+v after %d reads", again, reads.n)
	}
	all := push.Source{Images: []push.Image{one, two}, Index: &push.Index{Format: imagebuilder.OCI}}
	if mustRun(t, o, all); reads.n != 2 {
		t.Errorf("%d reads: a layer was compressed once more", reads.n)
	}
	one.Layers[0].DiffID = digest.FromString("another")
	one.Config = image(one.Layers...).Config
	o.To = registrytest.References(t, s.Host()+"/lib/app:2")
	if _, err := run(t, o, push.Source{Images: []push.Image{one}}); err == nil ||
		s.Manifest("lib/app/manifests/2") != nil {
		t.Errorf("a layer that is another: %v", err)
	}
}
