package images_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestTheNameThatWasMeantIsTold(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	id := storetest.Image(t, d, "x", l, "localhost/app:1", "example.test/app:2", "docker.io/library/hub:latest")
	sum := record(t, d, id).Digest
	for name, given := range map[string]string{
		"app:1": "localhost/app:1", "localhost/app:1": "localhost/app:1", "example.test/app:2": "example.test/app:2",
		"docker.io/hub": "docker.io/library/hub:latest", id: "", id[:12]: "", "sha256:" + id: "", sum.String(): "",
		"example.test/app@" + sum.String(): "", "localhost/app@" + sum.String(): "",
	} {
		if got, was, err := d.Images.LookUp(name); err != nil || got != id || was != given {
			t.Errorf("%s: %s by %q, want %q, %v", name, got, was, given, err)
		}
	}
	for _, name := range []string{
		"app", "app:2", "example.test/app", "example.test/app:1", "sha256:" + strings.Repeat("0", 64), id[:11] + "g", "a b",
		"",
		"example.test/other@" + sum.String(), "example.test/app@" + digest.FromString("x").String(), "sha512:" + id,
	} {
		if got, _, err := d.Images.LookUp(name); !errors.Is(err, images.ErrNoImage) || got != "" ||
			!strings.HasPrefix(err.Error(), name+": no such image") {
			t.Errorf("%q: %s, %v", name, got, err)
		}
	}
}

// TestANewImageTakesSomeOfTheNames: whoever loses the last one stays for the cache.
func TestANewImageTakesSomeOfTheNames(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	first := storetest.Image(t, d, "one", l, "localhost/a:1", "localhost/b:1")
	second := storetest.Image(t, d, "two", l, "localhost/a:1", "localhost/c:1")
	for id, want := range map[string][]string{
		first: {"localhost/b:1"}, second: {"localhost/a:1", "localhost/c:1"},
	} {
		got := slices.Sorted(slices.Values(record(t, d, id).Names))
		if !slices.Equal(got, want) {
			t.Errorf("%s is named %v, want %v", id, got, want)
		}
	}
	third := storetest.Image(t, d, "three", l, "localhost/a:1", "localhost/b:1", "localhost/c:1")
	for _, id := range []string{first, second} {
		if got := record(t, d, id).Names; !slices.Equal(got, []string{keeper(id)}) {
			t.Errorf("without a name, %s is named %v", id, got)
		}
	}
	// The first comes once more: it is the same image, and its name comes back.
	if again := storetest.Image(t, d, "one", l, "localhost/b:1"); again != first {
		t.Errorf("the same image is %s and %s", first, again)
	}
	if got := record(t, d, first).Names; !slices.Equal(got, []string{"localhost/b:1"}) {
		t.Errorf("it is named %v", got)
	}
	if got := record(t, d, third).Names; slices.Contains(got, "localhost/b:1") {
		t.Errorf("two have a name: %v", got)
	}
}

// TestAFormatThatIsAskedForReplacesTheManifest, and one that isn't leaves it.
func TestAFormatThatIsAskedForReplacesTheManifest(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	id := storetest.Image(t, d, "x", l, "localhost/a:1")
	config, err := library.Of(d.Store.Parts().Library).ImageBigData(id, "sha256:"+id)
	if err != nil {
		t.Fatal(err)
	}
	oci := record(t, d, id).Digest
	put := func(r images.Record) digest.Digest {
		r.Config, r.Layers = config, l
		got, sum, err := d.Images.Put(t.Context(), r)
		if err != nil || got != id {
			t.Fatalf("%s, %v", got, err)
		}
		return sum
	}
	if sum := put(images.Record{}); sum != oci {
		t.Errorf("without a format: %s, it was %s", sum, oci)
	}
	docker := put(images.Record{Format: "docker", Annotations: map[string]string{"a": "left out"}})
	if docker == oci {
		t.Error("it has the manifest that it had")
	}
	now := listed(t, d)[id]
	found, err := d.Images.FindFor(t.Context(), "a:1", amd64)
	if err != nil || now.Digest != docker || found.Digest != docker || len(now.RepoDigests()) != 2 {
		t.Errorf("its digest is %s in lists and %s where it is found, want %s; %v, %v", now.Digest, found.Digest, docker,
			now.RepoDigests(), err)
	}
	for _, sum := range []digest.Digest{oci, docker} {
		if got, _, err := d.Images.LookUp(sum.String()); err != nil || got != id {
			t.Errorf("by %s: %s, %v", sum, got, err)
		}
	}
}

func TestAnImageOfLayersThatAreGoneIsNotRecorded(t *testing.T) {
	d := openOverlay(t)
	_, _, err := d.Images.Put(t.Context(), images.Record{Config: []byte("{}"), Names: []string{"localhost/a:1"},
		Layers: []store.Layer{{ID: strings.Repeat("0", 64), DiffID: digest.FromString("x")}}})
	if err == nil || !strings.HasPrefix(err.Error(), "record image: ") {
		t.Errorf("got %v", err)
	}
	if _, _, err := d.Images.LookUp("a:1"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("the name leads somewhere: %v", err)
	}
}

// TestAnIndexThatLacksItsImagesIsTold, whoever asks for one.
func TestAnIndexThatLacksItsImagesIsTold(t *testing.T) {
	d := openOverlay(t)
	l := storetest.Stack(t, d, "", "a")
	id := storetest.Image(t, d, "one", l)
	index, err := d.Images.PutIndex(t.Context(), images.IndexRecord{Names: []string{"localhost/app:1"},
		Images: []images.IndexedImage{{ID: id, Platform: amd64}}})
	if err != nil {
		t.Fatal(err)
	}
	manifest := record(t, d, id).Digest
	if _, err := library.Of(d.Store.Parts().Library).DeleteImage(id, true); err != nil {
		t.Fatal(err)
	}
	_, err = d.Images.FindFor(t.Context(), "app:1", amd64)
	_, _, out := d.Images.FindOutgoing(t.Context(), "app:1")
	for _, err := range []error{err, out} {
		if !errors.Is(err, images.ErrNoImage) ||
			!strings.Contains(err.Error(), "image "+manifest.String()+" of the index app:1: no such image in the store") {
			t.Errorf("got %v", err)
		}
	}
	if !d.Images.Has(index.Encoded()) || d.Images.Has(id) || d.Images.Has(index.Encoded()[:12]) {
		t.Error("Has tells of another ID than the full one")
	}
}

func TestTheNamesOfAStoreAreSeenWithoutOpeningIt(t *testing.T) {
	root := t.TempDir()
	d := storetest.Open(t, store.Options{Driver: "overlay", Root: root})
	l := storetest.Stack(t, d, "", "a")
	storetest.Image(t, d, "one", l, "localhost/b:1", "example.test/a:1")
	storetest.Image(t, d, "two", l)
	kept := storetest.Image(t, d, "three", l, "localhost/c:1")
	if err := d.Images.Untag(t.Context(), kept, []string{"localhost/c:1"}); err != nil {
		t.Fatal(err)
	}
	peeker, err := images.NewPeeker(store.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	names, err := peeker.Names()
	if want := []string{"example.test/a:1", "localhost/b:1"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %v, %v, want %v", names, err, want)
	}
	list := filepath.Join(root, "overlay-images", "images.json")
	if err := os.Truncate(list, 65<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := peeker.Names(); err == nil || !strings.Contains(err.Error(), list+" is larger than 64 MiB") {
		t.Errorf("a list of any size: %v", err)
	}
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(list, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := peeker.Names(); err == nil || !strings.HasPrefix(err.Error(), "read store: ") {
		t.Errorf("a directory in place of the list: %v", err)
	}
}

// An index that another tool has made has nothing but its manifest.
func TestAnImageWithoutLayersHasTheSizeOfItsRecords(t *testing.T) {
	d := openOverlay(t)
	raw := []byte(`{"manifests":[]}`)
	if _, err := library.Of(d.Store.Parts().Library).CreateImage(strings.Repeat("d", 64), nil, "", "{}",
		&storage.ImageOptions{BigData: []storage.ImageBigDataOption{
			{Key: storage.ImageDigestBigDataKey, Data: raw, Digest: digest.FromBytes(raw)}}}); err != nil {
		t.Fatal(err)
	}
	all := listed(t, d)
	one := all[strings.Repeat("d", 64)]
	if one.Size != int64(len(raw)) || one.Instances == nil || len(one.Layers) > 0 || !one.Dangling() || one.Cached {
		t.Errorf("%+v", one)
	}
	if short, err := d.Images.ShortNames(); err != nil || short == nil {
		t.Errorf("short names: %v", err)
	}
}
