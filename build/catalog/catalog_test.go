package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// shelf is a store with images. IDs are by the author that each image has.
type shelf struct {
	*session.Session
	*depot.Depot
	ids map[string]string
}

func open(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{ids: map[string]string{}, Session: session.New(session.Options{
		Store: store.Options{Root: t.TempDir(), RunRoot: t.TempDir(), Driver: "overlay"}})}
	var err error
	if s.Depot, err = s.Session.Depot(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Session.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// image puts an image with layers of its own, made at a minute, into the store.
func (s *shelf) image(t *testing.T, author string, minute int, names ...string) {
	t.Helper()
	s.on(t, author, minute, storetest.Stack(t, s.Depot, "", author), nil, names...)
}

// on puts an image of layers into the store, as other tools do. It has a history entry for each of the texts.
func (s *shelf) on(t *testing.T, author string, minute int, layers []store.Layer, history []string, names ...string) {
	t.Helper()
	config := ocispec.Image{Author: author, RootFS: ocispec.RootFS{Type: "layers"},
		Platform: platforms.MustParse("linux/amd64"), Config: ocispec.ImageConfig{Labels: map[string]string{"of": author}}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	for _, text := range history {
		config.History = append(config.History, ocispec.History{CreatedBy: text})
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(raw)
	manifest, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{Digest: d, Size: int64(len(raw)), MediaType: ocispec.MediaTypeImageConfig}})
	if err != nil {
		t.Fatal(err)
	}
	s.ids[author] = d.Encoded()
	err = s.Images.PutCopy(&content.Image{Config: raw, ConfigDigest: d, Manifest: manifest,
		Created: time.Unix(int64(minute)*60, 0)}, layers[len(layers)-1].ID, "localhost/made:"+author, true)
	if err == nil && len(names) > 0 {
		err = s.Images.Tag(t.Context(), s.ids[author], names)
	}
	if err == nil {
		err = s.Images.Untag(t.Context(), s.ids[author], []string{"localhost/made:" + author})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// index puts an index of images without a name into the store.
func (s *shelf) index(t *testing.T, minute int, name string, authors ...string) {
	t.Helper()
	record := images.IndexRecord{Names: []string{name}, Format: imagebuilder.OCI, Created: time.Unix(int64(minute)*60, 0)}
	for i, author := range authors {
		s.image(t, author, minute)
		record.Images = append(record.Images, images.IndexedImage{ID: s.ids[author],
			Platform: platforms.MustParse([]string{"linux/amd64", "linux/arm64"}[i])})
	}
	if _, err := s.Images.PutIndex(t.Context(), record); err != nil {
		t.Fatal(err)
	}
}

// names are the names of all images, or the author of one without, in the order of the list.
func (s *shelf) names(t *testing.T, o ListOptions) (all []string) {
	t.Helper()
	list, err := List(t.Context(), s.Session, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		slices.Sort(i.Names)
		text := strings.Join(i.Names, "+")
		if text == "" {
			text = i.Labels["of"]
		}
		all = append(all, text)
	}
	return all
}

// remove removes images and gives what it told: names, and the authors of images.
func (s *shelf) remove(ctx context.Context, req RemoveRequest) (told []string, err error) {
	req.Done = func(r Removed) {
		if r.ID == "" {
			told = append(told, r.Name)
			return
		}
		for author, id := range s.ids {
			if id == r.ID {
				told = append(told, "image "+author)
				return
			}
		}
		told = append(told, "index")
	}
	err = Remove(ctx, s.Session, req)
	return told, err
}

// layers is how many layers the store has.
func (s *shelf) layers(t *testing.T) int {
	t.Helper()
	all, err := s.Images.List()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, l := range all {
		for _, id := range l.Layers {
			known[id] = true
		}
	}
	return len(known)
}

func TestAStoreThatIsNotThereHasNoImagesAndIsNotMade(t *testing.T) {
	t.Parallel()
	root := t.TempDir() + "/none"
	s := session.New(session.Options{Store: store.Options{Root: root, RunRoot: t.TempDir(), Driver: "overlay"}})
	if list, err := List(t.Context(), s, ListOptions{All: true}); err != nil || list != nil {
		t.Errorf("listed %v, %v", list, err)
	}
	for name, err := range map[string]error{
		"tag":    Tag(t.Context(), s, "app", []string{"b"}),
		"untag":  Untag(t.Context(), s, "app", nil),
		"remove": Remove(t.Context(), s, RemoveRequest{Images: []string{"app"}}),
	} {
		if !errors.Is(err, images.ErrNoImage) || !strings.Contains(err.Error(), "app") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, req := range []RemoveRequest{{Images: []string{"app"}, Force: true}, {Images: []string{"app"}, Ignore: true},
		{All: true}, {Dangling: true}} {
		if err := Remove(t.Context(), s, req); err != nil {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if _, err := os.Lstat(root); !os.IsNotExist(err) {
		t.Errorf("the store was made: %v", err)
	}
}

func TestAListHasTheNewestFirstAndLeavesOutWhatIsOnlyPartOfOthers(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "old", 1, "localhost/old:1", "quay.io/old:2")
	s.image(t, "new", 3, "localhost/new:1")
	s.image(t, "nameless", 2)
	layers := storetest.Stack(t, s.Depot, "", "step", "result")
	s.on(t, "step", 4, layers[:1], []string{"one"})
	s.on(t, "result", 5, layers, []string{"one", "two"}, "localhost/result:1")
	want := []string{"localhost/result:1", "localhost/new:1", "nameless", "localhost/old:1+quay.io/old:2"}
	if diff := cmp.Diff(want, s.names(t, ListOptions{})); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	want = slices.Insert(want, 1, "step")
	if diff := cmp.Diff(want, s.names(t, ListOptions{All: true})); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	for filter, want := range map[string]string{
		"since=old:1 dangling=false": "localhost/result:1 localhost/new:1", "label=of=new": "localhost/new:1",
		"reference=quay.io/*": "quay.io/old:2", "before=" + s.ids["nameless"][:12]: "localhost/old:1+quay.io/old:2",
	} {
		f, err := ParseFilters(strings.Fields(filter))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.names(t, ListOptions{Filters: f}), " "); got != want {
			t.Errorf("%s: listed %q, not %q", filter, got, want)
		}
	}
	f, err := ParseFilters([]string{"before=nobody"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := List(t.Context(), s.Session, ListOptions{Filters: f}); !errors.Is(err, images.ErrNoImage) ||
		!strings.Contains(err.Error(), "filter before=nobody") {
		t.Errorf("got %v", err)
	}
}

func TestWhatOnlyTheCacheNeedsIsListedWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	s := open(t)
	layers := storetest.Stack(t, s.Depot, "", "cached")
	config, err := json.Marshal(ocispec.Image{Author: "cached", RootFS: ocispec.RootFS{Type: "layers",
		DiffIDs: []digest.Digest{layers[0].DiffID}}, Platform: platforms.MustParse("linux/amd64")})
	if err != nil {
		t.Fatal(err)
	}
	if s.ids["cached"], _, err = s.Images.Put(t.Context(), images.Record{Config: config, Layers: layers, Keep: true,
		Created: time.Unix(60, 0)}); err != nil {
		t.Fatal(err)
	}
	for o, want := range map[*ListOptions]int{{}: 0, {All: true}: 0, {Cached: true}: 1} {
		if got := s.names(t, *o); len(got) != want {
			t.Errorf("%+v: listed %q", *o, got)
		}
	}
	if told, err := s.remove(t.Context(), RemoveRequest{All: true}); err != nil || len(told) > 0 {
		t.Errorf("all images: removed %q, %v", told, err)
	}
}

func TestAnImageIsDescribedAsOtherToolsDo(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "app", 7, "localhost/app:1")
	s.index(t, 9, "localhost/all:1", "amd", "arm")
	list, err := List(t.Context(), s.Session, ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	app := list[slices.IndexFunc(list, func(i Image) bool { return i.ID == s.ids["app"] })]
	if app.Created != 420 || !app.CreatedAt.Equal(time.Unix(420, 0)) || app.Size <= 0 || app.Size != app.VirtualSize ||
		app.Dangling || app.ReadOnly || app.Containers != 0 || app.Labels["of"] != "app" ||
		!slices.Equal(app.RepoTags, app.Names) || len(app.RepoDigests) != 1 ||
		app.RepoDigests[0] != "localhost/app@"+app.Digest.String() {
		t.Errorf("listed %+v", app)
	}
	all := list[slices.IndexFunc(list, func(i Image) bool { return slices.Contains(i.Names, "localhost/all:1") })]
	if "sha256:"+all.ID != all.Digest.String() || all.Labels != nil {
		t.Errorf("the index is %+v", all)
	}
}

func TestAnImageGetsNamesAndLosesThem(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "a", 2, "localhost/a:1")
	s.image(t, "b", 1, "localhost/b:1")
	is := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, s.names(t, ListOptions{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if err := Tag(t.Context(), s.Session, s.ids["a"][:10], []string{"c", "quay.io/x/y:2"}); err != nil {
		t.Fatal(err)
	}
	is("two more names", "localhost/a:1+localhost/c:latest+quay.io/x/y:2", "localhost/b:1")
	if err := Tag(t.Context(), s.Session, "b:1", []string{"localhost/a:1"}); err != nil {
		t.Fatal(err)
	}
	is("a name of another", "localhost/c:latest+quay.io/x/y:2", "localhost/a:1+localhost/b:1")
	for name, err := range map[string]error{
		"no image":       Tag(t.Context(), s.Session, "none", []string{"x"}),
		"no name":        Tag(t.Context(), s.Session, "b:1", []string{"x", "Bad Name"}),
		"another's":      Untag(t.Context(), s.Session, "b:1", []string{"c"}),
		"nobody's":       Untag(t.Context(), s.Session, "b:1", []string{"nobody"}),
		"no name at all": Untag(t.Context(), s.Session, "b:1", []string{"Bad Name"}),
		"untag nobody":   Untag(t.Context(), s.Session, "nobody", nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	is("after what failed", "localhost/c:latest+quay.io/x/y:2", "localhost/a:1+localhost/b:1")
	if err := Untag(t.Context(), s.Session, s.ids["a"], []string{"c", "quay.io/x/y:2"}); err != nil {
		t.Fatal(err)
	}
	is("without a name", "a", "localhost/a:1+localhost/b:1")
	if err := Untag(t.Context(), s.Session, "a:1", []string{"b:1"}); err != nil {
		t.Fatal(err)
	}
	is("one name less", "a", "localhost/a:1")
	if err := Untag(t.Context(), s.Session, "a:1", nil); err != nil {
		t.Fatal(err)
	}
	is("no names", "a", "b")
}

func TestAnImageOfSeveralNamesLosesTheOneThatIsGiven(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "a", 1, "localhost/a:1", "localhost/a:2")
	told, err := s.remove(t.Context(), RemoveRequest{Images: []string{"a:1", "nobody", s.ids["a"][:12]}})
	if !errors.Is(err, images.ErrNoImage) || !slices.Equal(told, []string{"localhost/a:1", "localhost/a:2", "image a"}) {
		t.Errorf("removed %q, %v", told, err)
	}
	s.image(t, "b", 1, "localhost/b:1", "localhost/b:2")
	told, err = s.remove(t.Context(), RemoveRequest{Images: []string{s.ids["b"]}})
	if err == nil || !strings.Contains(err.Error(), "it has the names localhost/b:1, localhost/b:2\nhint: ") ||
		told != nil {
		t.Errorf("by its ID: removed %q, %v", told, err)
	}
	told, err = s.remove(t.Context(), RemoveRequest{Images: []string{"nobody", s.ids["b"]}, Force: true})
	if err != nil || !slices.Equal(told, []string{"localhost/b:1", "localhost/b:2", "image b"}) || s.layers(t) != 0 {
		t.Errorf("by force: removed %q, %v; %d layers are left", told, err, s.layers(t))
	}
}

func TestAnImageTakesItsStepsAlong(t *testing.T) {
	t.Parallel()
	s := open(t)
	layers := storetest.Stack(t, s.Depot, "", "one", "two", "three")
	s.on(t, "one", 1, layers[:1], []string{"1"})
	s.on(t, "two", 2, layers[:2], []string{"1", "2"})
	s.on(t, "result", 3, layers, []string{"1", "2", "3"}, "localhost/result:1")
	s.on(t, "other", 4, layers[:2], []string{"1", "2'"}, "localhost/other:1")
	told, err := s.remove(t.Context(), RemoveRequest{Images: []string{"result:1"}})
	if err != nil || !slices.Equal(told, []string{"localhost/result:1", "image result", "image two"}) {
		t.Errorf("removed %q, %v", told, err)
	}
	s.on(t, "kept", 5, layers[:2], []string{"1", "2''"}, "localhost/kept:1")
	told, err = s.remove(t.Context(), RemoveRequest{Images: []string{"other:1"}, KeepParents: true})
	if err != nil || !slices.Equal(told, []string{"localhost/other:1", "image other"}) {
		t.Errorf("without its steps: removed %q, %v", told, err)
	}
	// The last one was built on the first step, too.
	told, err = s.remove(t.Context(), RemoveRequest{Images: []string{"kept:1"}})
	if err != nil || !slices.Equal(told, []string{"localhost/kept:1", "image kept", "image one"}) {
		t.Errorf("the last: removed %q, %v", told, err)
	}
}

func TestAnIndexKeepsItsImagesUntilItGoes(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.index(t, 1, "localhost/all:1", "amd", "arm")
	if err := Tag(t.Context(), s.Session, s.ids["arm"], []string{"arm"}); err != nil {
		t.Fatal(err)
	}
	told, err := s.remove(t.Context(), RemoveRequest{Images: []string{s.ids["amd"]}, Force: true})
	if err == nil || !strings.Contains(err.Error(),
		"the index localhost/all:1 has it\nhint: cooper rmi localhost/all:1") ||
		told != nil {
		t.Errorf("an image of the index: removed %q, %v", told, err)
	}
	told, err = s.remove(t.Context(), RemoveRequest{Images: []string{"all:1"}})
	if err != nil || !slices.Equal(told, []string{"localhost/all:1", "index", "image amd"}) {
		t.Errorf("the index: removed %q, %v", told, err)
	}
	if left := s.names(t, ListOptions{All: true}); !slices.Equal(left, []string{"localhost/arm:latest"}) {
		t.Errorf("left are %q", left)
	}
}

func TestAllOrTheNamelessAreRemoved(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "named", 1, "localhost/named:1", "localhost/named:2")
	s.image(t, "nameless", 2)
	layers := storetest.Stack(t, s.Depot, "", "step", "result")
	s.on(t, "step", 4, layers[:1], []string{"one"})
	s.on(t, "result", 5, layers, []string{"one", "two"}, "localhost/result:1")
	s.index(t, 6, "localhost/all:1", "amd", "arm")
	told, err := s.remove(t.Context(), RemoveRequest{Dangling: true})
	slices.Sort(told)
	// The images of the index have no name either, and it would be broken without them.
	if err != nil || !slices.Equal(told, []string{"image nameless"}) {
		t.Errorf("the nameless: removed %q, %v", told, err)
	}
	filters, err := ParseFilters([]string{"reference=named"})
	if err != nil {
		t.Fatal(err)
	}
	told, err = s.remove(t.Context(), RemoveRequest{All: true, Filters: filters})
	if err != nil || !slices.Equal(told, []string{"localhost/named:1", "localhost/named:2", "image named"}) {
		t.Errorf("all of a name: removed %q, %v", told, err)
	}
	told, err = s.remove(t.Context(), RemoveRequest{All: true})
	if left := s.names(t, ListOptions{All: true, Cached: true}); err != nil || len(left) != 0 || s.layers(t) != 0 {
		t.Errorf("all: removed %q, %v; left are %q", told, err, left)
	}
}

func TestWhatARunningBuildUsesStays(t *testing.T) {
	t.Parallel()
	s := open(t)
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.image(t, "used", 1, "localhost/used:1")
	if _, err := s.Images.FindFor(t.Context(), "localhost/used:1", platforms.MustParse("linux/amd64")); err != nil {
		t.Fatal(err)
	}
	s.image(t, "unused", 1, "localhost/unused:1")
	told, err := s.remove(t.Context(), RemoveRequest{Images: []string{"used:1", "unused:1"}})
	if err == nil || !strings.Contains(err.Error(), "image used:1 stays: a build that runs now may use it") {
		t.Errorf("removed %q, %v", told, err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if told, err := s.remove(t.Context(), RemoveRequest{Images: []string{"used:1"}}); err != nil {
		t.Errorf("after the build: removed %q, %v", told, err)
	}
}

func TestARemovalThatIsInterruptedLeavesTheRest(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.image(t, "a", 1, "localhost/a:1")
	s.image(t, "b", 2, "localhost/b:1")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	req := RemoveRequest{Images: []string{"a:1", "b:1"}, Done: func(r Removed) {
		if r.ID != "" {
			cancel(enough)
		}
	}}
	if err := Remove(ctx, s.Session, req); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if left := s.names(t, ListOptions{}); !slices.Equal(left, []string{"localhost/b:1"}) {
		t.Errorf("left are %q", left)
	}
	if err := s.Session.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"tag": Tag(t.Context(), s.Session, "b:1", []string{"c"}), "untag": Untag(t.Context(), s.Session, "b:1", nil),
		"remove": Remove(t.Context(), s.Session, RemoveRequest{All: true}),
	} {
		if !errors.Is(err, session.ErrClosed) {
			t.Errorf("%s in a closed session: %v", name, err)
		}
	}
}
