package manifestlist

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestAListHasTheFormatThatItsEntriesAllow(t *testing.T) {
	t.Parallel()
	docker := ocispec.Descriptor{MediaType: imagebuilder.Docker.Manifest()}
	oci := ocispec.Descriptor{MediaType: imagebuilder.OCI.Manifest()}
	needs := imagebuilder.Features{"sha256:1": {"sse4"}}
	noted := docker
	noted.Annotations = map[string]string{"a": "b"}
	for name, test := range map[string]struct {
		index    ocispec.Index
		features imagebuilder.Features
		want     imagebuilder.Format
	}{
		"empty":           {ocispec.Index{}, nil, imagebuilder.OCI},
		"docker's":        {ocispec.Index{Manifests: []ocispec.Descriptor{docker, docker}}, nil, imagebuilder.Docker},
		"both":            {ocispec.Index{Manifests: []ocispec.Descriptor{docker, oci}}, nil, imagebuilder.OCI},
		"annotated entry": {ocispec.Index{Manifests: []ocispec.Descriptor{noted}}, nil, imagebuilder.OCI},
		"annotated index": {ocispec.Index{Manifests: []ocispec.Descriptor{docker}, Annotations: noted.Annotations}, nil,
			imagebuilder.OCI},
		"features": {ocispec.Index{Manifests: []ocispec.Descriptor{oci}}, needs, imagebuilder.Docker},
	} {
		l := images.ManifestList{Index: test.index, Features: test.features}
		if err := settle(&l); err != nil || l.Index.MediaType != test.want.Index() || l.Index.SchemaVersion != 2 ||
			l.Index.Manifests == nil {
			t.Errorf("%s: %+v, %v", name, l.Index, err)
		}
	}
	for _, index := range []ocispec.Index{{Manifests: []ocispec.Descriptor{noted}}, {Annotations: noted.Annotations}} {
		l := images.ManifestList{Name: "list", Index: index, Features: needs}
		if err := settle(&l); err == nil || !strings.Contains(err.Error(), "list has annotations") {
			t.Errorf("annotations and features: %v", err)
		}
	}
}

func TestAChangeLeavesWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	shared := &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	l := images.ManifestList{Index: ocispec.Index{Manifests: []ocispec.Descriptor{
		{Platform: shared, Annotations: map[string]string{"a": "1"}}, {Digest: "sha256:1"}}}}
	Change{Variant: "v8", OSFeatures: []string{"x"}, Annotations: map[string]string{"b": "2"}}.apply(&l, 0)
	want := ocispec.Descriptor{
		Platform:    &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8", OSFeatures: []string{"x"}},
		Annotations: map[string]string{"a": "1", "b": "2"},
	}
	if diff := cmp.Diff(want, l.Index.Manifests[0]); diff != "" {
		t.Error(diff)
	}
	if shared.Variant != "" {
		t.Error("the change went into the image's own platform")
	}
	Change{OS: "linux", Arch: "amd64", OSVersion: "1", Features: []string{"sse4"}}.apply(&l, 1)
	if diff := cmp.Diff(imagebuilder.Features{"sha256:1": {"sse4"}}, l.Features); diff != "" {
		t.Error(diff)
	}
	if none := l.Index.Manifests[1]; none.Platform.OS != "linux" || none.Platform.Architecture != "amd64" ||
		none.Platform.OSVersion != "1" {
		t.Errorf("of nothing it makes %+v", none.Platform)
	}
}
