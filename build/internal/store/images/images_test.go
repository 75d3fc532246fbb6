package images_test

import (
	"errors"
	"os"
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

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func TestAnImageIsFoundByEveryOfItsNames(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "a"), "one") })
	config, err := imagebuilder.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"}).
		MarshalConfig([]digest.Digest{l.DiffID}, time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	record := images.Record{Config: config, Layers: []store.Layer{l}, Names: []string{"localhost/app:v1"},
		Created: time.Unix(1, 0)}
	id, _, err := s.Images.Put(t.Context(), record)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := s.Images.Put(t.Context(), record); err != nil || again != id {
		t.Errorf("put twice: %s, %v", again, err)
	}
	for _, name := range []string{"app:v1", "localhost/app:v1", id, id[:12], "sha256:" + id} {
		img, err := s.Images.Find(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img.ID != id || len(img.Layers) != 1 || img.Layers[0].ID != l.ID {
			t.Errorf("%s: found %s with layers %v", name, img.ID, img.Layers)
		}
	}
	if _, err := s.Images.Find(t.Context(), "app:v2"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("a name nobody has: %v", err)
	}
}

func TestNamesAreMadeFull(t *testing.T) {
	for in, want := range map[string]string{
		"app": "localhost/app:latest", "app:1": "localhost/app:1", "team/app": "localhost/team/app:latest",
		"registry.example.com/app": "registry.example.com/app:latest", "localhost:5000/app:x": "localhost:5000/app:x",
	} {
		if got, err := images.NormalizeName(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "App", "a b", "app@sha256:" + strings.Repeat("0", 64), "app:"} {
		if got, err := images.NormalizeName(bad); err == nil {
			t.Errorf("%q is taken as %s", bad, got)
		}
	}
}
