package manifestlist

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestAListHasTheFormatThatItsEntriesAllow(t *testing.T) {
	t.Parallel()
	docker := ocispec.Descriptor{MediaType: imagebuilder.Docker.Manifest()}
	oci := ocispec.Descriptor{MediaType: imagebuilder.OCI.Manifest()}
	noted := docker
	noted.Annotations = map[string]string{"a": "b"}
	for name, test := range map[string]struct {
		index ocispec.Index
		want  imagebuilder.Format
	}{
		"empty":           {ocispec.Index{}, imagebuilder.OCI},
		"docker's":        {ocispec.Index{Manifests: []ocispec.Descriptor{docker, docker}}, imagebuilder.Docker},
		"both":            {ocispec.Index{Manifests: []ocispec.Descriptor{docker, oci}}, imagebuilder.OCI},
		"annotated entry": {ocispec.Index{Manifests: []ocispec.Descriptor{noted}}, imagebuilder.OCI},
		"annotated index": {ocispec.Index{Manifests: []ocispec.Descriptor{docker}, Annotations: noted.Annotations},
			imagebuilder.OCI},
	} {
		settle(&test.index)
		if test.index.MediaType != test.want.Index() || test.index.SchemaVersion != 2 || test.index.Manifests == nil {
			t.Errorf("%s: %+v", name, test.index)
		}
	}
}

func TestAChangeLeavesWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	shared := &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	d := ocispec.Descriptor{Platform: shared, Annotations: map[string]string{"a": "1"}}
	Change{Variant: "v8", OSFeatures: []string{"x"}, Annotations: map[string]string{"b": "2"}}.apply(&d)
	want := ocispec.Descriptor{
		Platform:    &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8", OSFeatures: []string{"x"}},
		Annotations: map[string]string{"a": "1", "b": "2"},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	if shared.Variant != "" {
		t.Error("the change went into the image's own platform")
	}
	var none ocispec.Descriptor
	Change{OS: "linux", Arch: "amd64", OSVersion: "1"}.apply(&none)
	if none.Platform.OS != "linux" || none.Platform.Architecture != "amd64" || none.Platform.OSVersion != "1" {
		t.Errorf("of nothing it makes %+v", none.Platform)
	}
}
