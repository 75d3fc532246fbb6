package images_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// putConfig records an image without layers and returns its ID.
func putConfig(t *testing.T, s *depot.Depot, label string, names ...string) string {
	t.Helper()
	config := `{"architecture":"amd64","os":"linux","config":{"Labels":{"is":"` + label +
		`"}},"rootfs":{"type":"layers","diff_ids":[]}}`
	id, _, err := s.Images.Put(t.Context(), images.Record{Config: []byte(config), Names: names, Created: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestImagesAreSeenWithoutOpeningTheStore(t *testing.T) {
	o := store.Options{Root: t.TempDir(), Driver: "overlay"}
	s := storetest.Open(t, o)
	id := putConfig(t, s, "one", "localhost/one:latest", "docker.io/library/both:1")
	putConfig(t, s, "two", "localhost/both:1", "quay.io/org/far:2")
	putConfig(t, s, "three", "docker.io/library/hub:latest")
	peeker, err := images.NewPeeker(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"one": "one", "localhost/one": "one", "localhost/one:latest": "one", id: "one", id[:12]: "one", "sha256:" + id: "one",
		"both:1": "two", "docker.io/library/both:1": "one", "org/far:2": "two", "quay.io/org/far:2": "two", "hub": "three",
		"docker.io/library/hub": "three",
		"one:2":                 "", "other": "", "quay.io/hub": "", "ar:2": "", id[:6]: "", strings.Repeat("0", 64): "",
		"a b": "",
	} {
		base, err := peeker.Find(name)
		if want == "" {
			if !errors.Is(err, images.ErrNoImage) {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if err != nil || base.Image.Config.Labels["is"] != want || base.ID == "" {
			t.Errorf("%s: got %+v, %v", name, base.Image.Config.Labels, err)
		}
	}
}

func TestAStoreThatIsNotThereHasNoImages(t *testing.T) {
	root := filepath.Join(t.TempDir(), "none")
	peeker, err := images.NewPeeker(store.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peeker.Find("a"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(root); err == nil {
		t.Error("looking has made it")
	}
}

func TestDamagedImagesAreErrors(t *testing.T) {
	root := t.TempDir()
	id := digest.FromString("x").Encoded()
	write := func(name, text string) {
		path := filepath.Join(root, "overlay-images", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	peeker, err := images.NewPeeker(store.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ file, text string }{
		{"images.json", "{"},
		{"images.json", `[{"id":"` + id + `","names":["localhost/a:latest"]}]`},
		{id + "/manifest", "nothing"},
		{id + "/manifest", `{"schemaVersion":2,"config":{"digest":"../../x"}}`},
		{id + "/manifest", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":1,"digest":"` +
			digest.FromString("other").String() + `"},"layers":[]}`},
		{"images.json", `[{"id":"../..","names":["localhost/a:latest"]}]`},
	} {
		write(step.file, step.text)
		if _, err := peeker.Find("a"); err == nil || errors.Is(err, images.ErrNoImage) {
			t.Errorf("after %s %q: got %v", step.file, step.text, err)
		}
	}
}
