package images_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// saved records a manifest list of images of the store, in their order.
func saved(t *testing.T, d *depot.Depot, name string, ids ...string) images.ManifestList {
	t.Helper()
	l := images.ManifestList{Name: name, Images: map[digest.Digest]string{}}
	l.Index.SchemaVersion, l.Index.MediaType = 2, ocispec.MediaTypeImageIndex
	for _, id := range ids {
		entry, found, err := d.Images.EntryOf(t.Context(), id, amd64)
		if err != nil {
			t.Fatal(err)
		}
		l.Index.Manifests, l.Images[entry.Digest] = append(l.Index.Manifests, entry), found
	}
	id, err := d.Images.SaveList(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	l.ID = id
	return l
}

// references are those that podman finds a list's images by.
func references(t *testing.T, d *depot.Depot, id string) (all map[string]string) {
	t.Helper()
	raw, err := library.Of(d.Store.Parts().Library).ImageBigData(id, "instances.json")
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAManifestListIsReadAsItWasSaved(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	ids := []string{storetest.Image(t, d, "one", l), storetest.Image(t, d, "two", l)}
	list := saved(t, d, "localhost/list:1", ids...)
	for _, name := range []string{"list:1", "localhost/list:1", list.ID, list.ID[:12]} {
		got, err := d.Images.OpenList(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list.Index, got.Index); diff != "" || got.ID != list.ID || !maps.Equal(got.Images, list.Images) {
			t.Errorf("%s: ID %s, images %v, index (-want +got):\n%s", name, got.ID, got.Images, diff)
		}
	}
	// What podman wants of it: an image without layers, and where each of its images is.
	if img := record(t, d, list.ID); img.TopLayer != "" || !slices.Equal(img.Names, []string{"localhost/list:1"}) ||
		images.Own(img) || !images.HasManifest(img) {
		t.Errorf("it is recorded as %+v", img)
	}
	all := references(t, d, list.ID)
	if len(all) != 3 || all[""] != list.ID {
		t.Errorf("it refers to %v", all)
	}
	for sum, id := range list.Images {
		if at := all[sum.String()]; !strings.HasPrefix(at, "containers-storage:[overlay@"+d.Store.Paths().Root+"+") ||
			!strings.HasSuffix(at, "]@"+id) {
			t.Errorf("%s is at %s", sum, at)
		}
	}
}

func TestAManifestListKeepsItsIDWhenItChanges(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	one, two := storetest.Image(t, d, "one", l), storetest.Image(t, d, "two", l)
	list := saved(t, d, "localhost/list:1", one)
	before := record(t, d, list.ID)
	entry, _, err := d.Images.EntryOf(t.Context(), two, amd64)
	if err != nil {
		t.Fatal(err)
	}
	list.Index.Manifests, list.Images[entry.Digest] = append(list.Index.Manifests, entry), two
	list.Name = "localhost/another:1" // a name is given to a new one only
	if id, err := d.Images.SaveList(t.Context(), list); err != nil || id != list.ID {
		t.Fatalf("its ID was %s and is %s, %v", list.ID, id, err)
	}
	after := record(t, d, list.ID)
	raw, err := json.Marshal(list.Index)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(after.Digests, digest.FromBytes(raw)) || !slices.Equal(after.Names, before.Names) {
		t.Errorf("%v named %v, it was named %v", after.Digests, after.Names, before.Names)
	}
	if got, err := d.Images.OpenList(digest.FromBytes(raw).String()); err != nil || len(got.Index.Manifests) != 2 {
		t.Errorf("by its new digest: %d images, %v", len(got.Index.Manifests), err)
	}
	// An image that goes from the list goes from the references.
	delete(list.Images, entry.Digest)
	list.Index.Manifests = list.Index.Manifests[:1]
	if _, err := d.Images.SaveList(t.Context(), list); err != nil || len(references(t, d, list.ID)) != 2 {
		t.Errorf("references %v, %v", references(t, d, list.ID), err)
	}
}

func TestANewListTakesItsNameFromTheImageThatHasIt(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	old := storetest.Image(t, d, "one", l, "localhost/list:1")
	list := saved(t, d, "localhost/list:1", old)
	if img := record(t, d, old); slices.Contains(img.Names, "localhost/list:1") || len(img.Names) != 1 {
		t.Errorf("the image is named %v", img.Names)
	}
	if got, err := d.Images.OpenList("list:1"); err != nil || got.ID != list.ID {
		t.Errorf("the name leads to %s, %v", got.ID, err)
	}
}

func TestAListThatWasRemovedMeanwhileIsNotMadeAgain(t *testing.T) {
	d := openOverlay(t)
	list := saved(t, d, "localhost/list:1", storetest.Image(t, d, "one", storetest.Stack(t, d, "", "a")))
	if _, err := library.Of(d.Store.Parts().Library).DeleteImage(list.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Images.SaveList(t.Context(), list); !errors.Is(err, storage.ErrImageUnknown) ||
		!strings.HasPrefix(err.Error(), "record manifest list localhost/list:1: ") {
		t.Errorf("got %v", err)
	}
	if d.Images.Has(list.ID) {
		t.Error("it is there again")
	}
}

func TestWhatIsNoListIsTold(t *testing.T) {
	d := openOverlay(t)
	storetest.Image(t, d, "one", storetest.Stack(t, d, "", "a"), "localhost/app:1")
	if _, err := d.Images.OpenList("app:1"); !errors.Is(err, images.ErrNoList) ||
		err.Error() != "app:1 is an image and no manifest list" {
		t.Errorf("got %v", err)
	}
	if _, err := d.Images.OpenList("none"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("got %v", err)
	}
	if _, _, err := d.Images.EntryOf(t.Context(), "none", amd64); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("got %v", err)
	}
}

// TestTheReferencesOfOtherToolsAreKept has a list that podman has made, with images that are elsewhere.
func TestTheReferencesOfOtherToolsAreKept(t *testing.T) {
	d := openOverlay(t)
	id := storetest.Image(t, d, "one", storetest.Stack(t, d, "", "a"), "localhost/app:1")
	here, away := digest.FromString("here"), digest.FromString("away")
	gone, named := digest.FromString("gone"), digest.FromString("named")
	index := ocispec.Index{Manifests: []ocispec.Descriptor{{Digest: here}, {Digest: away}, {Digest: gone},
		{Digest: named}}}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]string{
		"": "localhost/theirs:1", away.String(): "docker://example.test/app:1",
		here.String():  "containers-storage:[overlay@/elsewhere/root+/run]@" + id,
		gone.String():  "containers-storage:" + strings.Repeat("0", 64),
		named.String(): "containers-storage:localhost/app:1@" + id,
	}
	at, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	listID := strings.Repeat("a", 64)
	if _, err := library.Of(d.Store.Parts().Library).CreateImage(listID, []string{"localhost/theirs:1"}, "", "{}",
		&storage.ImageOptions{BigData: []storage.ImageBigDataOption{
			{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: digest.FromBytes(raw)}, {Key: "instances.json", Data: at},
		}}); err != nil {
		t.Fatal(err)
	}
	list, err := d.Images.OpenList("theirs:1")
	if err != nil {
		t.Fatal(err)
	}
	if want := map[digest.Digest]string{here: id, named: id}; !maps.Equal(list.Images, want) {
		t.Errorf("the store has %v of it", list.Images)
	}
	list.Index.Manifests = list.Index.Manifests[:3]
	delete(list.Images, named)
	if _, err := d.Images.SaveList(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	got := references(t, d, listID)
	if len(got) != 4 || got[away.String()] != theirs[away.String()] || got[gone.String()] != theirs[gone.String()] ||
		!strings.HasSuffix(got[here.String()], "@"+id) {
		t.Errorf("it refers to %v", got)
	}
}

// TestAListThatIsDamagedIsTold has records that no tool writes.
func TestAListThatIsDamagedIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		manifest, instances string
		want                string // empty: it is read
	}{
		"no JSON":                {"{", "{}", "read manifest list " + strings.Repeat("b", 64) + ": manifest: "},
		"no index":               {"{}", "{}", "is an image and no manifest list"},
		"references of no JSON":  {`{"manifests":[]}`, "{", ""},
		"references of no names": {`{"manifests":[]}`, `{"":"x","sha256:x":""}`, ""},
	} {
		d := openOverlay(t)
		id := strings.Repeat("b", 64)
		if _, err := library.Of(d.Store.Parts().Library).CreateImage(id, nil, "", "{}",
			&storage.ImageOptions{BigData: []storage.ImageBigDataOption{
				{Key: storage.ImageDigestBigDataKey, Data: []byte(test.manifest), Digest: digest.FromString(test.manifest)},
				{Key: "instances.json", Data: []byte(test.instances)},
			}}); err != nil {
			t.Fatal(err)
		}
		l, err := d.Images.OpenList(id)
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) ||
			test.want == "" && (err != nil || len(l.Images) > 0) {
			t.Errorf("%s: %v, %v, want %q", name, l.Images, err, test.want)
		}
	}
}

// TestAHalfMadeListGoesAndLeavesNothing has one whose maker was killed before it had a manifest.
func TestAHalfMadeListGoesAndLeavesNothing(t *testing.T) {
	d := openOverlay(t)
	lib := library.Of(d.Store.Parts().Library)
	if _, err := lib.CreateImage(strings.Repeat("c", 64), nil, "", "{}", nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Images.RemoveHalf(); err != nil {
		t.Fatal(err)
	}
	if all, err := lib.Images(); err != nil || len(all) > 0 {
		t.Errorf("left: %v, %v", all, err)
	}
}

func TestTheEntryOfAnImageIsWhatAnIndexHas(t *testing.T) {
	d := openOverlay(t)
	_, ids := putIndex(t, d, "localhost/app:1")
	img := record(t, d, ids[0])
	for name, platform := range map[string]ocispec.Platform{"app:1": amd64, ids[0]: arm64} {
		entry, id, err := d.Images.EntryOf(t.Context(), name, platform)
		if err != nil || id != ids[0] || entry.Digest != img.Digest || entry.MediaType != ocispec.MediaTypeImageManifest ||
			entry.Size != img.BigDataSizes[storage.ImageDigestBigDataKey] || entry.Platform.Architecture != "amd64" {
			t.Errorf("%s: %s, %+v, %v", name, id, entry, err)
		}
	}
}
