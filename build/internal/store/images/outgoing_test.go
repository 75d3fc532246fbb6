package images_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

var (
	amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = ocispec.Platform{OS: "linux", Architecture: "arm64"}
)

// putIndex records an index of two images under a name, and gives the images.
func putIndex(t *testing.T, d *depot.Depot, name string) (index digest.Digest, ids []string) {
	t.Helper()
	l := storetest.Stack(t, d, "", "a")
	ids = []string{storetest.Image(t, d, "one", l), storetest.Image(t, d, "two", l)}
	index, err := d.Images.PutIndex(t.Context(), images.IndexRecord{
		Names: []string{name}, Format: imagebuilder.OCI,
		Images: []images.IndexedImage{{ID: ids[0], Platform: amd64}, {ID: ids[1], Platform: arm64}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return index, ids
}

func TestAnImageLeavesWithItsManifest(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a", "b")
	id := storetest.Image(t, d, "x", l, "localhost/app:1")
	index, out, err := d.Images.FindOutgoing(t.Context(), "app:1")
	if err != nil || index != nil || len(out) != 1 {
		t.Fatalf("%s, %v, %v", index, out, err)
	}
	one := out[0]
	if one.ID != id || one.Name != "localhost/app:1" || len(one.Layers) != 2 || one.Entry.Digest != "" ||
		digest.FromBytes(one.Manifest) != record(t, d, id).Digest {
		t.Errorf("%+v", one)
	}
	if _, _, err := d.Images.FindOutgoing(t.Context(), "app:2"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("a name nobody has: %v", err)
	}
}

// TestAnIndexLeavesWithAllItsImages in its order, or not at all.
func TestAnIndexLeavesWithAllItsImages(t *testing.T) {
	d := openOverlay(t)
	want, ids := putIndex(t, d, "localhost/all:1")
	index, out, err := d.Images.FindOutgoing(t.Context(), "all:1")
	if err != nil || digest.FromBytes(index) != want || len(out) != 2 {
		t.Fatalf("%s, %v, %v", index, out, err)
	}
	for n, platform := range []ocispec.Platform{amd64, arm64} {
		if out[n].ID != ids[n] || !cmp.Equal(out[n].Entry.Platform, &platform) ||
			out[n].Entry.Digest != digest.FromBytes(out[n].Manifest) {
			t.Errorf("image %d is %+v", n, out[n])
		}
	}
	if _, err := library.Of(d.Store.Parts().Library).DeleteImage(ids[1], true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Images.FindOutgoing(t.Context(), "all:1"); !errors.Is(err, images.ErrNoImage) ||
		!strings.Contains(err.Error(), "of the index all:1") {
		t.Errorf("without one of its images: %v", err)
	}
}

func TestTheTagsOfARepositoryAreFound(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	storetest.Image(t, d, "x", l, "example.test/app:2", "example.test/app:1", "example.test/other:1")
	storetest.Image(t, d, "y", l, "example.test/app:3", "localhost/app:4")
	for name, want := range map[string][]string{
		"example.test/app":   {"example.test/app:1", "example.test/app:2", "example.test/app:3"},
		"example.test/app:2": {"example.test/app:1", "example.test/app:2", "example.test/app:3"},
		"localhost/app":      {"localhost/app:4"},
		"app:4":              {"localhost/app:4"},
	} {
		got, err := d.Images.NamesBeside(name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{"example.test/none": images.ErrNoImage, "Bad Name": nil} {
		if got, err := d.Images.NamesBeside(name); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestTheOriginsOfABlobAreImagesOfRegistries whose manifest names it.
func TestTheOriginsOfABlobAreImagesOfRegistries(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	blob := digest.FromString("blob")
	img := copied(t, l[0], ocispec.MediaTypeImageManifest)
	img.Manifest = []byte(`{"config":{"digest":"` + img.ConfigDigest.String() + `"},"layers":[{"digest":"` +
		blob.String() + `"}]}`)
	if err := d.Images.PutCopy(img, l[0].ID, "example.test/base:1", false); err != nil {
		t.Fatal(err)
	}
	id := img.ConfigDigest.Encoded()
	if err := d.Images.Tag(t.Context(), id, []string{"localhost/base:1", "example.test/base:2"}); err != nil {
		t.Fatal(err)
	}
	storetest.Image(t, d, "x", l, "example.test/built:1") // its manifest has the layer uncompressed
	damaged := digest.FromString("damaged").Encoded()
	bad := []byte("no JSON")
	if _, err := library.Of(d.Store.Parts().Library).CreateImage(damaged, []string{"example.test/bad:1"}, "", "",
		&storage.ImageOptions{BigData: []storage.ImageBigDataOption{
			{Key: storage.ImageDigestBigDataKey, Data: bad, Digest: digest.FromBytes(bad)}}}); err != nil {
		t.Fatal(err)
	}
	got, err := d.Images.Origins(blob)
	if err != nil || len(got) != 1 || got[0].String() != "example.test/base" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := d.Images.Origins(digest.FromString("none")); err != nil || got != nil {
		t.Errorf("a blob of nobody: %v, %v", got, err)
	}
}

// TestNamesAreGivenAndTaken and an image of cooper's own stays in the cache without one.
func TestNamesAreGivenAndTaken(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	own := storetest.Image(t, d, "own", l, "localhost/own:1")
	pulled := copied(t, l[0], ocispec.MediaTypeImageManifest)
	if err := d.Images.PutCopy(pulled, l[0].ID, "example.test/app:1", false); err != nil {
		t.Fatal(err)
	}
	theirs := pulled.ConfigDigest.Encoded()
	steps := []struct {
		do    func() error
		own   []string
		other []string
	}{
		{func() error { return d.Images.Tag(t.Context(), own, []string{"localhost/own:2", "localhost/own:1"}) },
			[]string{"localhost/own:2", "localhost/own:1"}, []string{"example.test/app:1"}},
		{func() error { return d.Images.Tag(t.Context(), theirs, []string{"localhost/own:2"}) },
			[]string{"localhost/own:1"}, []string{"localhost/own:2", "example.test/app:1"}},
		{func() error { return d.Images.Untag(t.Context(), own, []string{"localhost/none:1"}) },
			[]string{"localhost/own:1"}, []string{"localhost/own:2", "example.test/app:1"}},
		{func() error { return d.Images.Untag(t.Context(), own, []string{"localhost/own:1"}) },
			[]string{keeper(own)}, []string{"localhost/own:2", "example.test/app:1"}},
		{func() error {
			return d.Images.Untag(t.Context(), theirs, []string{"localhost/own:2", "example.test/app:1"})
		}, []string{keeper(own)}, nil},
	}
	for n, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string][]string{own: step.own, theirs: step.other} {
			got := record(t, d, id).Names
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("step %d: %s has the names %v, not %v", n, images.Short(id), got, want)
			}
		}
	}
	missing := strings.Repeat("0", 64)
	if err := errors.Join(d.Images.Tag(t.Context(), missing, []string{"localhost/x:1"})); err == nil {
		t.Error("an image that isn't there got a name")
	}
	if err := d.Images.Untag(t.Context(), missing, nil); err == nil {
		t.Error("an image that isn't there lost a name")
	}
}

// TestAnImageThatWasMovedHalfwayIsThere has the process killed after each step of Move: each name has an image, and the
// next Put makes it right.
func TestAnImageThatWasMovedHalfwayIsThere(t *testing.T) {
	for steps := range 3 {
		d := openOverlay(t)
		lib := library.Of(d.Store.Parts().Library)
		l := storetest.Stack(t, d, "", "a")
		put := func() string {
			t.Helper()
			return storetest.Image(t, d, "x", l, "localhost/app:1")
		}
		id := put()
		img := record(t, d, id)
		manifest, err := lib.ImageBigData(id, storage.ImageDigestBigDataKey)
		if err != nil {
			t.Fatal(err)
		}
		config, err := lib.ImageBigData(id, "sha256:"+id)
		if err != nil {
			t.Fatal(err)
		}
		between := strings.Repeat("ab", 32)
		for n, step := range []func() error{
			func() error {
				_, err := lib.CreateImage(between, nil, img.TopLayer, "", &storage.ImageOptions{Flags: img.Flags,
					BigData: []storage.ImageBigDataOption{
						{Key: "sha256:" + id, Data: config, Digest: digest.FromBytes(config)},
						{Key: storage.ImageDigestBigDataKey, Data: manifest, Digest: digest.FromBytes(manifest)}}})
				return err
			},
			func() error { return lib.AddNames(between, img.Names) },
			func() error {
				_, err := lib.DeleteImage(id, true)
				return err
			},
		} {
			if n > steps {
				break
			}
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if found, err := d.Images.Find(t.Context(), "app:1"); err != nil || len(found.Layers) != 1 {
			t.Errorf("after step %d: %+v, %v", steps, found, err)
		}
		if again := put(); again != id {
			t.Errorf("after step %d the image is %s", steps, again)
		}
		if found, err := d.Images.Find(t.Context(), "app:1"); err != nil || found.ID != id {
			t.Errorf("after step %d: %s, %v", steps, found.ID, err)
		}
	}
}

// TestAnImageIsDescribedAsTheStoreHasIt with what the driver says of its directories.
func TestAnImageIsDescribedAsTheStoreHasIt(t *testing.T) {
	d := openOverlay(t)
	_, ids := putIndex(t, d, "localhost/all:1")
	got, err := d.Images.Describe(t.Context(), "all:1", arm64)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := d.Store.DiffDir(got.Listed.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != ids[1] || got.Listed.ID != ids[1] || got.Driver != "overlay" || got.DriverData["UpperDir"] != dir ||
		digest.FromBytes(got.Manifest) != got.Digest || got.Listed.Size == 0 {
		t.Errorf("%+v", got)
	}
	if merged, ok := got.DriverData["MergedDir"]; ok {
		t.Errorf("it is said to be mounted on %s", merged)
	}
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`)
	empty, _, err := d.Images.Put(t.Context(), images.Record{Config: config, Names: []string{"localhost/empty:1"},
		Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Images.Describe(t.Context(), "empty:1", amd64); err != nil || got.ID != empty ||
		got.DriverData != nil || len(got.Layers) != 0 {
		t.Errorf("an image without layers: %+v, %v", got, err)
	}
	if _, err := d.Images.Describe(t.Context(), "none:1", amd64); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("a name nobody has: %v", err)
	}
}

// TestIndexesInEachOtherEnd where none of them leads to an image.
func TestIndexesInEachOtherEnd(t *testing.T) {
	d := openOverlay(t)
	lib := library.Of(d.Store.Parts().Library)
	// Each is found by the digest of the one that it is an index of.
	inner := digest.FromString("round and round")
	raw := []byte(`{"schemaVersion":2,"manifests":[{"digest":"` + inner.String() + `","size":1}]}`)
	if _, err := lib.CreateImage(strings.Repeat("1", 64), []string{"localhost/round:1"}, "", "", &storage.ImageOptions{
		Digests: []digest.Digest{inner}, BigData: []storage.ImageBigDataOption{
			{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: digest.FromBytes(raw)},
			{Key: storage.ImageDigestManifestBigDataNamePrefix + "-x", Data: raw, Digest: inner},
		}}); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Images.FindFor(t.Context(), "round:1", amd64); err == nil ||
		!strings.Contains(err.Error(), "more than 4 indexes in each other") {
		t.Errorf("%+v, %v", got, err)
	}
}
