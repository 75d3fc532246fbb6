package images_test

import (
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
	"github.com/cooperbuild/cooper/imagebuilder"
)

// listed lists the images of a store by ID.
func listed(t *testing.T, d *depot.Depot) map[string]images.Listed {
	t.Helper()
	all, err := d.Images.List()
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]images.Listed{}
	for _, l := range all {
		byID[l.ID] = l
	}
	return byID
}

func sizes(layers []store.Layer) (sum int64) {
	for _, l := range layers {
		sum += l.Size
	}
	return sum
}

// TestWhatImagesShareIsCounted has two on one layer, one on its own, and what only the cache needs.
func TestWhatImagesShareIsCounted(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a", "b", "c")
	other := storetest.Stack(t, d, "", "other")
	long := storetest.Image(t, d, "long", l, "localhost/long:1")
	short := storetest.Image(t, d, "short", l[:1], "localhost/short:1")
	alone := storetest.Image(t, d, "alone", other, "localhost/alone:1")
	if err := d.Images.PutKeeper(l[1].ID); err != nil { // it has what two images have, and one more layer
		t.Fatal(err)
	}
	if err := d.Images.PutKeeper(other[0].ID); err != nil {
		t.Fatal(err)
	}
	all := listed(t, d)
	for id, want := range map[string]int64{long: l[0].Size, short: l[0].Size, alone: 0} {
		if got := all[id].Shared; got != want || got > all[id].Size {
			t.Errorf("%s shares %d bytes of %d, not %d", all[id].Names, got, all[id].Size, want)
		}
		delete(all, id)
	}
	for _, keeper := range all {
		want := sizes(l[:2])
		if keeper.TopLayer == other[0].ID {
			want = sizes(other)
		}
		if !keeper.Cached || keeper.Shared != want {
			t.Errorf("the cache's shares %d bytes, not %d: %+v", keeper.Shared, want, keeper)
		}
	}
}

func TestAListSaysWhatAnImageIs(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a", "b")
	first := storetest.Image(t, d, "first", l[:1], "localhost/app:1", "registry.example.com/app:2")
	storetest.Image(t, d, "second", l, "localhost/app:1") // takes a name
	got, img := listed(t, d)[first], record(t, d, first)
	size := l[0].Size
	for _, n := range img.BigDataSizes {
		size += n
	}
	if diff := cmp.Diff(images.Listed{
		ID: first, Names: []string{"registry.example.com/app:2"}, OldNames: img.NamesHistory, Digest: img.Digest,
		Digests: img.Digests, Created: img.Created, Size: size, Shared: l[0].Size, TopLayer: l[0].ID,
		Layers: []string{l[0].ID}, Image: got.Image,
	}, got); diff != "" {
		t.Error(diff)
	}
	if got.Image.Platform.Architecture != "amd64" || got.Dangling() {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"registry.example.com/app@" + img.Digest.String()}, got.RepoDigests()); diff != "" {
		t.Error(diff)
	}
}

// TestTheNewestImageIsFirst whatever the order is in which they came into the store.
func TestTheNewestImageIsFirst(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	var want []string
	for _, day := range []int64{2, 3, 1} {
		config := []byte(`{"author":"` + strings.Repeat("x", int(day)) + `","rootfs":{"type":"layers","diff_ids":["` +
			l[0].DiffID.String() + `"]}}`)
		id, _, err := d.Images.Put(t.Context(), images.Record{Config: config, Layers: l, Created: time.Unix(day, 0)})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	all, err := d.Images.List()
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for i, n := range []int{1, 0, 2} {
		if all[i].ID != want[n] {
			t.Errorf("image %d is of %v", i, all[i].Created)
		}
	}
}

// TestContainersAreNamed gives those of an image, by ID where they have no name.
func TestContainersAreNamed(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	id := storetest.Image(t, d, "x", l, "localhost/app:1")
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: d.Store.Paths().Root,
		RunRoot: library.Of(d.Store.Parts().Library).RunRoot(), GraphDriverName: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	one, err := st.CreateContainer("", []string{"web"}, id, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := st.CreateContainer("", nil, id, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := listed(t, d)[id].Containers
	slices.Sort(got)
	want := []string{two.ID[:12], "web"}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []string{one.ID, two.ID} {
		if err := st.DeleteContainer(c); err != nil {
			t.Error(err)
		}
	}
	st.Free()
}

// TestAnIndexNamesItsImages lists those it has in the store, and not itself.
func TestAnIndexNamesItsImages(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	one, two := storetest.Image(t, d, "one", l), storetest.Image(t, d, "two", l)
	index, err := d.Images.PutIndex(t.Context(), images.IndexRecord{
		Names: []string{"localhost/all:1"}, Images: []images.IndexedImage{
			{ID: one, Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}},
			{ID: two, Platform: ocispec.Platform{OS: "linux", Architecture: "arm64"}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	all := listed(t, d)
	got := all[index.Encoded()].Instances
	slices.Sort(got)
	want := []string{one, two}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all[one].Instances != nil {
		t.Errorf("a plain image is taken for an index of %v", all[one].Instances)
	}
	// What is written there by others is no list, or a hostile one.
	for _, text := range []string{"", "no JSON", "[]", `{"":"x"}`, `{"a":"` + strings.Repeat("@]", 1000) + `"}`} {
		if err := library.Of(d.Store.Parts().Library).SetImageBigData(index.Encoded(), "instances.json", []byte(text),
			nil); err != nil {
			t.Fatal(err)
		}
		for _, id := range listed(t, d)[index.Encoded()].Instances {
			if strings.ContainsAny(id, "@]") {
				t.Errorf("%.20q gives the ID %q", text, id)
			}
		}
	}
}

// TestADamagedImageIsListedWithWhatCanBeRead has the config gone, and the manifest no JSON.
func TestADamagedImageIsListedWithWhatCanBeRead(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	id := storetest.Image(t, d, "x", l, "localhost/app:1")
	lib := library.Of(d.Store.Parts().Library)
	for _, manifest := range []string{"no JSON", `{"config":{"digest":"md5:1"}}`, `{"config":{"digest":"sha256:` +
		strings.Repeat("0", 64) + `"}}`} {
		if err := lib.SetImageBigData(id, storage.ImageDigestBigDataKey, []byte(manifest),
			func(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil }); err != nil {
			t.Fatal(err)
		}
		got, ok := listed(t, d)[id]
		if !ok || got.Size < l[0].Size || got.TopLayer != l[0].ID || got.Image.Platform.Architecture != "" {
			t.Errorf("%s: %v, %+v", manifest, ok, got)
		}
		if _, err := d.Images.Find(t.Context(), "app:1"); err == nil {
			t.Errorf("%s: the image is found", manifest)
		}
	}
}

// TestAnImageIsBuiltOnAnotherIfItHasAllOfItAndMore compares histories and layers.
func TestAnImageIsBuiltOnAnotherIfItHasAllOfItAndMore(t *testing.T) {
	image := func(layers string, steps ...string) (l images.Listed) {
		l.Layers = strings.Fields(layers)
		for _, s := range steps {
			l.Image.History = append(l.Image.History, history(s))
		}
		return l
	}
	base := image("a b", "A", "B")
	for name, test := range map[string]struct {
		child images.Listed
		want  bool
	}{
		"more":                 {image("a b c", "A", "B", "C"), true},
		"more without a layer": {image("a b", "A", "B", "-ENV"), true},
		"the same":             {image("a b", "A", "B"), false},
		"other layers":         {image("a x c", "A", "B", "C"), false},
		"fewer layers":         {image("a", "A", "B", "C"), false},
		"another step":         {image("a b c", "A", "X", "C"), false},
		"a step without layer": {image("a b c", "A", "-B", "C"), false},
		"nothing":              {images.Listed{}, false},
	} {
		if got := test.child.BuiltOn(base); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if image("a", "A").BuiltOn(images.Listed{}) {
		t.Error("every image is built on one without a history")
	}
}

// history is a step's entry; one that begins with a minus sign has made no layer.
func history(step string) imagebuilder.History {
	by, empty := strings.CutPrefix(step, "-")
	return imagebuilder.History{CreatedBy: by, EmptyLayer: empty}
}
