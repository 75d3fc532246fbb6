package images_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/registry/content"
)

func openOverlay(t *testing.T) *depot.Depot {
	t.Helper()
	return storetest.Open(t, store.Options{Driver: "overlay"})
}

// record is an image as the library has it.
func record(t *testing.T, d *depot.Depot, id string) *storage.Image {
	t.Helper()
	img, err := library.Of(d.Store.Parts().Library).Image(id)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func keeper(id string) string { return "localhost/cooper-cache:" + images.Short(id) }

func TestANameIsTakenFromTheImageThatHasIt(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a", "b")
	first := storetest.Image(t, d, "first", l[:1], "localhost/app:1", "localhost/app:2")
	second := storetest.Image(t, d, "second", l, "localhost/app:1")
	for id, want := range map[string][]string{first: {"localhost/app:2"}, second: {"localhost/app:1"}} {
		if diff := cmp.Diff(want, record(t, d, id).Names); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	}
	// Without its last name the clean-up of other tools would take it, and what the next build needs.
	if again := storetest.Image(t, d, "second", l, "localhost/app:2"); again != second {
		t.Errorf("the same image was recorded as %s and %s", second, again)
	}
	old := record(t, d, first)
	if diff := cmp.Diff([]string{keeper(first)}, old.Names); diff != "" || len(images.GivenNames(old)) > 0 {
		t.Errorf("names of the image that has lost them (-want +got):\n%s", diff)
	}
	// A name of its own makes that superfluous.
	storetest.Image(t, d, "first", l[:1], "localhost/again:1")
	if diff := cmp.Diff([]string{"localhost/again:1"}, record(t, d, first).Names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestWhatTheCacheNeedsIsKeptByAName(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	if err := d.Images.PutKeeper(l[0].ID); err != nil {
		t.Fatal(err)
	}
	holder, err := d.Images.PutHolder(l[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	all, err := library.Of(d.Store.Parts().Library).Images()
	if err != nil || len(all) != 2 {
		t.Fatalf("images: %v, %v", all, err)
	}
	for _, img := range all {
		want := []string{keeper(img.ID)}
		if img.ID == holder {
			want = nil
		}
		if !slices.Equal(img.Names, want) || !images.Own(&img) || img.TopLayer != l[0].ID || !images.HasManifest(&img) {
			t.Errorf("%s has the names %v, own: %v", img.ID, img.Names, images.Own(&img))
		}
	}
	if _, err := d.Images.PutHolder(strings.Repeat("0", 64)); !errors.Is(err, store.ErrNoLayer) {
		t.Errorf("a layer that isn't there is held: %v", err)
	}
}

func TestAnImageThatIsKeptHasNoOtherName(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` +
		l[0].DiffID.String() + `"]}}`)
	put := func(names ...string) string {
		t.Helper()
		id, _, err := d.Images.Put(t.Context(), images.Record{Config: config, Layers: l, Names: names, Keep: true})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := put()
	if got := record(t, d, id).Names; !slices.Equal(got, []string{keeper(id)}) {
		t.Errorf("kept as %v", got)
	}
	put("localhost/app:1")
	put()
	if got := record(t, d, id).Names; !slices.Equal(got, []string{"localhost/app:1"}) {
		t.Errorf("named as %v", got)
	}
}

func TestAHalfMadeImageGoesAndItsLayersAreHeld(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	const named, nameless = "1111111111111111", "2222222222222222"
	for id, o := range map[string]*storage.ImageOptions{
		strings.Repeat(named, 4):    {}, // another tool's
		strings.Repeat(nameless, 4): {Flags: map[string]any{"cooper": true}},
	} {
		var names []string
		if len(o.Flags) == 0 {
			names = []string{"localhost/other:1"}
		}
		if _, err := library.Of(d.Store.Parts().Library).CreateImage(id, names, l[0].ID, "", o); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Images.RemoveHalf(); err != nil {
		t.Fatal(err)
	}
	if !d.Images.Has(strings.Repeat(named, 4)) || d.Images.Has(strings.Repeat(nameless, 4)) {
		t.Error("the wrong image went")
	}
	all, err := library.Of(d.Store.Parts().Library).Images()
	if err != nil || !slices.ContainsFunc(all, func(img storage.Image) bool {
		return images.Own(&img) && images.HasManifest(&img) && img.TopLayer == l[0].ID
	}) {
		t.Errorf("nothing holds the layer: %v", err)
	}
}

// copied is an image of one layer as a registry gives it.
func copied(t *testing.T, l store.Layer, mediaType string) *content.Image {
	t.Helper()
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + l.DiffID.String() +
		`"]}}`)
	m := ocispec.Manifest{MediaType: mediaType, Config: ocispec.Descriptor{Digest: digest.FromBytes(config),
		Size: int64(len(config)), MediaType: ocispec.MediaTypeImageConfig}}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &content.Image{Config: config, ConfigDigest: m.Config.Digest, Manifest: raw,
		DiffIDs: []digest.Digest{l.DiffID}}
}

func TestAnImageIsFoundByTheDigestsThatItWasPulledBy(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	first, second := copied(t, l[0], ocispec.MediaTypeImageManifest), copied(t, l[0], "application/x-other")
	second.Index = []byte(`{"schemaVersion":2,"manifests":[]}`)
	for _, img := range []*content.Image{first, second} {
		if err := d.Images.PutCopy(img, l[0].ID, "example.test/app:1", true); err != nil {
			t.Fatal(err)
		}
	}
	id := first.ConfigDigest.Encoded()
	for _, raw := range [][]byte{first.Manifest, second.Manifest, second.Index} {
		name := "example.test/app@" + digest.FromBytes(raw).String()
		if img, err := d.Images.Find(t.Context(), name); err != nil || img.ID != id || img.Name != name {
			t.Errorf("%s: %s, %v", name, img.ID, err)
		}
		// The digest alone doesn't say that it is the image of that repository.
		name = "example.test/other@" + digest.FromBytes(raw).String()
		if _, err := d.Images.Find(t.Context(), name); !errors.Is(err, images.ErrNoImage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := storetest.Stack(t, d, l[0].ID, "b")[0]
	if err := d.Images.PutCopy(first, other.ID, "", true); err == nil {
		t.Error("the image got another top layer")
	}
}

func TestAnImageMovesToLayersOfTheSameContent(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")[0]
	old, err := library.Of(d.Store.Parts().Library).PutLayer(strings.Repeat("ab", 32), "", nil, "", false, nil,
		tarOf(t, d, l))
	if err != nil {
		t.Fatal(err)
	}
	img := copied(t, l, ocispec.MediaTypeImageManifest)
	id := img.ConfigDigest.Encoded()
	if err := d.Images.PutCopy(img, old.ID, "example.test/app:1", true); err != nil {
		t.Fatal(err)
	}
	before := record(t, d, id)
	for range 2 { // the second time it is there
		if err := d.Images.Move(t.Context(), id, l.ID); err != nil {
			t.Fatal(err)
		}
		after := record(t, d, id)
		if after.TopLayer != l.ID || !slices.Equal(after.Names, before.Names) || after.Digest != before.Digest ||
			!slices.Equal(after.BigDataNames, before.BigDataNames) {
			t.Errorf("before: %+v\nafter: %+v", before, after)
		}
	}
	all, err := library.Of(d.Store.Parts().Library).Images()
	if err != nil || len(all) != 1 {
		t.Errorf("images: %v, %v", all, err)
	}
}

func TestAnImageOfAContainerStaysOnItsLayers(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")[0]
	old, err := library.Of(d.Store.Parts().Library).PutLayer(strings.Repeat("ab", 32), "", nil, "", false, nil,
		tarOf(t, d, l))
	if err != nil {
		t.Fatal(err)
	}
	img := copied(t, l, ocispec.MediaTypeImageManifest)
	id := img.ConfigDigest.Encoded()
	if err := d.Images.PutCopy(img, old.ID, "example.test/app:1", true); err != nil {
		t.Fatal(err)
	}
	lib := library.Of(d.Store.Parts().Library)
	podman, err := storage.GetStore(storage.StoreOptions{GraphRoot: lib.GraphRoot(), RunRoot: lib.RunRoot()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := podman.CreateContainer("", nil, id, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Images.Move(t.Context(), id, l.ID); err != nil {
		t.Fatal(err)
	}
	if top := record(t, d, id).TopLayer; top != old.ID {
		t.Errorf("it is on %s now", top)
	}
	if err := podman.DeleteContainer(c.ID); err != nil {
		t.Fatal(err)
	}
}

// tarOf opens the archive of a layer as a file: to read a layer keeps others from being made.
func tarOf(t *testing.T, d *depot.Depot, l store.Layer) *os.File {
	t.Helper()
	rc, err := d.Store.LayerTar(l)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Store.Parts().Scratch.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.ReadFrom(rc); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	manifestOf := func(config []byte) []byte {
		raw, _ := json.Marshal(ocispec.Manifest{Config: ocispec.Descriptor{Digest: digest.FromBytes(config)}})
		return raw
	}
	config := []byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	more := []byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("x").String() + `"]}}`)
	for name, test := range map[string]struct {
		manifest, config []byte
		want             string
	}{
		"no JSON":             {[]byte("{"), config, "manifest"},
		"no digest":           {[]byte(`{"config":{"digest":"x"}}`), config, "config digest"},
		"another config":      {manifestOf(config), more, "does not have the digest"},
		"too many layers":     {manifestOf(more), more, "its config names 1 layers, the store has 0"},
		"a config of no JSON": {manifestOf([]byte("{")), []byte("{"), "read image"},
	} {
		t.Run(name, func(t *testing.T) {
			d := openOverlay(t)
			id := digest.FromString(name).Encoded()
			data := []storage.ImageBigDataOption{
				{Key: storage.ImageDigestBigDataKey, Data: test.manifest, Digest: digest.FromBytes(test.manifest)},
			}
			var m ocispec.Manifest
			if json.Unmarshal(test.manifest, &m) == nil && m.Config.Digest.Validate() == nil {
				data = append(data, storage.ImageBigDataOption{Key: m.Config.Digest.String(), Data: test.config})
			}
			if _, err := library.Of(d.Store.Parts().Library).CreateImage(id, nil, "", "",
				&storage.ImageOptions{BigData: data}); err != nil {
				t.Fatal(err)
			}
			_, err := d.Images.Find(t.Context(), id)
			if err == nil || errors.Is(err, images.ErrNoImage) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTheLayersOfWhatIsFoundAreKeptForTheBuild(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	storetest.Image(t, d, "", l, "localhost/app:1")
	note := filepath.Join(d.Store.Paths().Own, "uses", "layers", l[0].ID)
	long := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(note, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Images.Find(t.Context(), "app:1"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(note); err != nil || !info.ModTime().After(long) {
		t.Errorf("the layer was last used %v, %v", info.ModTime(), err)
	}
	unlock, err := d.Store.Parts().Uses.LockRemoval(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Parts().Uses.Condemn([]string{l[0].ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Images.Find(t.Context(), "app:1"); !errors.Is(err, store.ErrNoLayer) {
		t.Errorf("with a layer that is being removed: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}
