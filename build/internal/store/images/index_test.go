package images_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestAnIndexGivesTheImageForAPlatform(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "a"), "one") })
	var record images.IndexRecord
	ids := map[string]string{}
	for _, p := range []ocispec.Platform{
		{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm", Variant: "v6"},
		{OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		config, err := imagebuilder.Scratch(p).MarshalConfig([]digest.Digest{l.DiffID}, time.Unix(1, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		id, _, err := s.Images.Put(t.Context(), images.Record{Config: config, Layers: []store.Layer{l}})
		if err != nil {
			t.Fatal(err)
		}
		ids[p.Architecture+p.Variant] = id
		record.Images = append(record.Images, images.IndexedImage{ID: id, Platform: p})
	}
	index, err := s.Images.PutIndex(t.Context(), record)
	if err != nil {
		t.Fatal(err)
	}
	record.Names = []string{"localhost/app:v1"}
	if again, err := s.Images.PutIndex(t.Context(), record); err != nil || again != index {
		t.Errorf("put twice: %s, %v", again, err)
	}
	for _, name := range []string{"app:v1", index.String(), index.Encoded()[:12]} {
		for want, platform := range map[string]ocispec.Platform{
			"amd64": {OS: "linux", Architecture: "amd64"}, "armv7": {OS: "linux", Architecture: "arm", Variant: "v7"},
			"armv6": {OS: "linux", Architecture: "arm", Variant: "v6"},
		} {
			img, err := s.Images.FindFor(t.Context(), name, platform)
			if err != nil || img.ID != ids[want] {
				t.Errorf("%s for %s: %s %v", name, want, img.ID, err)
			}
		}
	}
	_, err = s.Images.FindFor(t.Context(), "app:v1", ocispec.Platform{OS: "linux", Architecture: "s390x"})
	if !errors.Is(err, images.ErrNoImage) ||
		!strings.Contains(err.Error(), "there are linux/amd64, linux/arm/v6, linux/arm/v7") {
		t.Error(err)
	}
	if _, err := s.Images.PutIndex(t.Context(),
		images.IndexRecord{Images: []images.IndexedImage{{ID: strings.Repeat("0", 64)}}}); err == nil {
		t.Error("an index of an image that isn't there is recorded")
	}
	if img, err := s.Images.FindFor(t.Context(), ids["amd64"],
		ocispec.Platform{OS: "linux", Architecture: "s390x"}); err != nil ||
		img.ID != ids["amd64"] {
		t.Errorf("a plain image: %v", err)
	}
}
