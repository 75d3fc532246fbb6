package manifestlist

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/session/sessiontest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// shelf is a session with the images localhost/amd:1, of linux/amd64, and localhost/arm:1, of linux/arm64.
type shelf struct {
	*sessiontest.Session
	amd, arm string
}

func open(t *testing.T) shelf {
	t.Helper()
	s := sessiontest.Open(t)
	l := storetest.Stack(t, s.Store, "", "a")
	return shelf{s, s.Put(t, sessiontest.Image{Platform: "linux/amd64"}, l, "localhost/amd:1"),
		s.Put(t, sessiontest.Image{Platform: "linux/arm64"}, l, "localhost/arm:1")}
}

// list is what a list has: the architecture of each entry with its annotations.
func (s shelf) list(t *testing.T, name string) (all []string) {
	t.Helper()
	l, err := s.Store.Images.OpenList(name)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, "list "+l.Index.Annotations["k"])
	for _, d := range l.Index.Manifests {
		text := d.Platform.Architecture + d.Platform.Variant
		if at := l.Images[d.Digest]; at == "" {
			text += " elsewhere"
		}
		all = append(all, strings.TrimSpace(text+" "+d.Annotations["k"]+" "+strings.Join(l.Features[d.Digest], ",")))
	}
	return all
}

func (s shelf) wants(t *testing.T, name string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.list(t, name)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// must checks what a call returns, and gives the list's ID.
func must(t *testing.T) func(id string, err error) string {
	t.Helper()
	return func(id string, err error) string {
		t.Helper()
		if err != nil || len(id) != 64 {
			t.Fatalf("%q, %v", id, err)
		}
		return id
	}
}

func TestAListIsMadeChangedAndEmptied(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := must(t)(Create(t.Context(), s.Session.Session, "list", []string{"amd:1"}, CreateOptions{
		Annotations: map[string]string{"k": "of the list"}}))
	s.wants(t, "list", "list of the list", "amd64")
	same := func(next string, err error) {
		t.Helper()
		if next != id || err != nil {
			t.Errorf("the list was %s and is %s, %v", id, next, err)
		}
	}
	same(Add(t.Context(), s.Session.Session, "list", []string{"arm:1", "arm:1"}, AddOptions{
		Change: Change{Variant: "v8", Annotations: map[string]string{"k": "new"}}}))
	s.wants(t, "list", "list of the list", "amd64", "arm64v8 new")
	// What is there already gets the change.
	same(Add(t.Context(), s.Session.Session, id, []string{s.amd}, AddOptions{Change: Change{Variant: "v3"}}))
	same(Annotate(t.Context(), s.Session.Session, "list", "arm:1", Change{Annotations: map[string]string{"k": "newer"}}))
	same(Annotate(t.Context(), s.Session.Session, "list", "", Change{Annotations: map[string]string{"k": "all"}}))
	s.wants(t, "list", "list all", "amd64v3", "arm64v8 newer")
	l, err := s.Store.Images.OpenList("list")
	if err != nil || l.Index.MediaType != imagebuilder.OCI.Index() {
		t.Errorf("its type is %s, %v", l.Index.MediaType, err)
	}
	same(Remove(t.Context(), s.Session.Session, "list", l.Index.Manifests[0].Digest.String()))
	s.wants(t, "list", "list all", "arm64v8 newer")
	same(Remove(t.Context(), s.Session.Session, "list", "arm:1"))
	s.wants(t, "list", "list all")
	for _, image := range []string{s.amd, s.arm} {
		if !s.Store.Images.Has(image) {
			t.Errorf("image %s went with its entry", image)
		}
	}
}

func TestAListTakesTheImagesOfAnother(t *testing.T) {
	t.Parallel()
	s := open(t)
	must(t)(Create(t.Context(), s.Session.Session, "both", []string{"amd:1", "arm:1"}, CreateOptions{}))
	must(t)(Create(t.Context(), s.Session.Session, "all", []string{"both"}, CreateOptions{All: true}))
	s.wants(t, "all", "list ", "amd64", "arm64")
	must(t)(Create(t.Context(), s.Session.Session, "one", []string{"both"}, CreateOptions{}))
	if got := s.list(t, "one"); len(got) != 2 { // that of this machine's platform
		t.Errorf("it has %q", got)
	}
	must(t)(Add(t.Context(), s.Session.Session, "new", []string{"arm:1"}, AddOptions{Create: true, All: true}))
	s.wants(t, "new", "list ", "arm64")
	if _, err := Add(t.Context(), s.Session.Session, "all", []string{"all"}, AddOptions{All: true}); err == nil ||
		!strings.HasSuffix(err.Error(), "all:latest can't have itself") {
		t.Errorf("a list in itself: %v", err)
	}
	s.wants(t, "all", "list ", "amd64", "arm64")
}

func TestAListThatIsThereIsAmendedOnlyWhenThatIsWanted(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := must(t)(Create(t.Context(), s.Session.Session, "list", nil, CreateOptions{}))
	if _, err := Create(t.Context(), s.Session.Session, "list", []string{"amd:1"}, CreateOptions{}); !errors.Is(err,
		ErrExists) ||
		err.Error() != "manifest list localhost/list:latest is there already\nhint: --amend adds to it" {
		t.Errorf("got %v", err)
	}
	s.wants(t, "list", "list ")
	if got, err := Create(t.Context(), s.Session.Session, "list", []string{"amd:1"},
		CreateOptions{Amend: true}); err != nil ||
		got != id {
		t.Errorf("%s, %v", got, err)
	}
	s.wants(t, "list", "list ", "amd64")
}

// TestAListThatCanNotBeChangedStaysAsItIs whatever was wrong.
func TestAListThatCanNotBeChangedStaysAsItIs(t *testing.T) {
	t.Parallel()
	s := open(t)
	must(t)(Create(t.Context(), s.Session.Session, "list", []string{"amd:1"}, CreateOptions{}))
	in := s.Session.Session
	other := digest.FromString("other").String()
	for name, test := range map[string]struct {
		call func() (string, error)
		is   error
		want string
	}{
		"an image that isn't there": {func() (string, error) {
			return Add(t.Context(), in, "list", []string{"arm:1", "none"}, AddOptions{})
		}, images.ErrNoImage, "none: no such image"},
		"all of one that isn't there": {func() (string, error) {
			return Add(t.Context(), in, "list", []string{"none"}, AddOptions{All: true})
		}, images.ErrNoImage, "none: no such image"},
		"no list": {func() (string, error) { return Add(t.Context(), in, "none", nil, AddOptions{}) }, images.ErrNoImage,
			"none: no such image"},
		"an image": {func() (string, error) { return Add(t.Context(), in, "amd:1", []string{"arm:1"}, AddOptions{}) },
			ErrNoList,
			"amd:1 is an image and no manifest list"},
		"a name that is none": {func() (string, error) { return Create(t.Context(), in, "A B", nil, CreateOptions{}) }, nil,
			"image name \"A B\": "},
		"an image without an entry": {func() (string, error) { return Remove(t.Context(), in, "list", "arm:1") }, nil,
			"has no image arm:1\nhint: cooper manifest inspect localhost/list:latest shows what it has"},
		"a digest without an entry": {func() (string, error) { return Annotate(t.Context(), in, "list", other, Change{}) },
			nil,
			"has no image " + other},
		"a name of nothing": {func() (string, error) { return Remove(t.Context(), in, "list", "none") }, images.ErrNoImage,
			"none: no such image"},
		"what no format can say": {func() (string, error) {
			return Annotate(t.Context(), in, "list", "amd:1", Change{Features: []string{"sse4"}, Annotations: map[string]string{
				"k": "v"}})
		}, nil, "has annotations, which only OCI's indexes can have"},
	} {
		id, err := test.call()
		if id != "" || err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v, want %q", name, id, err, test.want)
		}
		s.wants(t, "list", "list ", "amd64")
	}
	if _, err := Remove(t.Context(), sessiontest.Closed(t), "list", "amd:1"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("a store that isn't there: %v", err)
	}
}

// TestAListThatLacksAnImageIsNotTakenWhole has an index of which only a part was pulled.
func TestAListThatLacksAnImageIsNotTakenWhole(t *testing.T) {
	t.Parallel()
	s := open(t)
	must(t)(Create(t.Context(), s.Session.Session, "both", []string{"amd:1", "arm:1"}, CreateOptions{}))
	l, err := s.Store.Images.OpenList("both")
	if err != nil {
		t.Fatal(err)
	}
	delete(l.Images, l.Index.Manifests[1].Digest)
	if _, err := s.Store.Images.SaveList(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, err = Create(t.Context(), s.Session.Session, "all", []string{"both"}, CreateOptions{All: true})
	if !errors.Is(err, images.ErrNoImage) ||
		!strings.Contains(err.Error(), "image "+l.Index.Manifests[1].Digest.String()+" of the index localhost/both:latest") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Store.Images.OpenList("all"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("the new list: %v", err)
	}
}
