package imagebuilder_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestFeaturesStayInTheTextOfAnIndex(t *testing.T) {
	t.Parallel()
	index := ocispec.Index{MediaType: imagebuilder.TypeDockerList, Manifests: []ocispec.Descriptor{
		{MediaType: "a", Digest: "sha256:1", Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: "b", Digest: "sha256:2", Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}},
		{MediaType: "<c>", Digest: "sha256:3"}, {Digest: "sha256:4"}}}
	features := imagebuilder.Features{"sha256:1": {"sse4", "avx"}, "sha256:3": {"x"}}
	text, err := imagebuilder.MarshalIndex(index, features)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(features, imagebuilder.ReadFeatures(text)); diff != "" {
		t.Errorf("read again (-want +got)\n%s\n%s", diff, text)
	}
	var again ocispec.Index
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	index.Manifests[2].Platform = &ocispec.Platform{}
	if diff := cmp.Diff(index, again); diff != "" {
		t.Errorf("read as an index without features (-want +got)\n%s", diff)
	}
	if plain, err := imagebuilder.MarshalIndex(index, nil); err != nil || imagebuilder.ReadFeatures(plain) != nil {
		t.Errorf("without features: %s, %v", plain, err)
	}
	for _, text := range []string{"", "{}", "[]", `{"manifests":[{}]}`, `{"manifests":[{"platform":{"features":3}}]}`} {
		if got := imagebuilder.ReadFeatures([]byte(text)); got != nil {
			t.Errorf("%q has the features %v", text, got)
		}
	}
}
