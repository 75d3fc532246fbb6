package bases_test

import (
	"strings"
	"testing"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

func TestThePlatformsInCommonAreThoseOfAllBasesThatAreFree(t *testing.T) {
	t.Parallel()
	entries := func(names string) (all []ocispec.Descriptor) {
		for name := range strings.FieldsSeq(names) {
			p := platforms.MustParse(name)
			all = append(all, ocispec.Descriptor{Platform: &p})
		}
		return all
	}
	w := func() *world {
		return &world{lists: map[string][]ocispec.Descriptor{
			"many": entries("linux/arm64 linux/amd64 linux/s390x"), "two": entries("linux/amd64 linux/arm64"),
			"one": entries("linux/riscv64")}}
	}
	for file, want := range map[string]string{
		"FROM many": "linux/arm64 linux/amd64 linux/s390x",
		"FROM many AS a\nFROM two\nCOPY --from=a /x /":                "linux/amd64 linux/arm64",
		"FROM many\nCOPY --from=two /x /":                             "linux/arm64 linux/amd64",
		"FROM --platform=$BUILDPLATFORM one AS a\nFROM two\nRUN true": "linux/amd64 linux/arm64",
		"FROM one AS unused\nFROM two":                                "linux/amd64 linux/arm64",
		"ARG B=two\nFROM $B":                                          "linux/amd64 linux/arm64",
		"ARG TARGETARCH\nFROM many\nFROM base-$TARGETARCH":            "no other that would say",
		"FROM scratch\nCOPY x /":                                      "no other that would say",
		"FROM one AS a\nFROM two\nCOPY --from=a /x /":                 "no platform for which all of two, one have",
	} {
		f, err := dockerfile.Parse("Dockerfile", []byte(file+"\n"), dockerfile.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := bases.New(w().options("")).Common(t.Context(), f, plan.Options{
			BuildPlatform: platforms.MustParse("linux/amd64")})
		var got []string
		for _, p := range all {
			got = append(got, platforms.FormatAll(p))
		}
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v", file, got, err)
		}
	}
}
