package bases_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/userns"
)

// world is a store with some images, and the registries around it. It notes what it is asked for.
type world struct {
	// has are the images of the store, served those of registries, by name.
	has, served map[string]images.Found
	// lists are the indexes of the store, offered the platforms that registries have images for.
	lists   map[string][]ocispec.Descriptor
	offered []ocispec.Platform
	// broken is what the store says to every question, and down what registries do.
	broken, down error
	asked        []string
	shown        []string
}

func (w *world) note(format string, args ...any) {
	w.asked = append(w.asked, fmt.Sprintf(format, args...))
}

func (w *world) FindFor(_ context.Context, name string, platform ocispec.Platform) (images.Found, error) {
	w.note("find %s for %s", name, platform.Architecture)
	if w.broken != nil {
		return images.Found{}, w.broken
	}
	img, ok := w.has[name]
	if !ok {
		return img, images.ErrNoImage
	}
	return img, nil
}

func (w *world) OpenList(name string) (l images.ManifestList, err error) {
	w.note("list %s", name)
	entries, isList := w.lists[name]
	switch _, isImage := w.has[name]; {
	case w.broken != nil:
		return l, w.broken
	case isList:
		l.Index.Manifests = entries
		return l, nil
	case isImage:
		return l, images.ErrNoList
	}
	return l, images.ErrNoImage
}

func (w *world) Look(_ context.Context, name string, o pull.Options) (pull.Offered, error) {
	w.note("look at %s, %d retries", name, o.Retries.Times)
	return pull.Offered{Platforms: w.offered}, w.down
}

func (w *world) Rechain(_ context.Context, layers []store.Layer) ([]store.Layer, error) {
	w.note("rechain %d", len(layers))
	return []store.Layer{{ID: "usual"}}, w.down
}

func (w *world) Move(_ context.Context, id, top string) error {
	w.note("move %s to %s", id, top)
	return nil
}

func (w *world) Pull(_ context.Context, name string, o pull.Options) (images.Found, error) {
	w.note("pull %s for %s from %s", name, o.Platform.Architecture, o.Registry.AuthFile)
	o.Progress("layer", 1, 2)
	return w.served[name], w.down
}

func (w *world) Copy(_ context.Context, _ content.Fetcher, root ocispec.Descriptor,
	o pull.CopyOptions) (images.Found, error) {
	w.note("copy %s for %s", root.Digest, o.Platform.Architecture)
	return images.Found{Base: imagebuilder.Base{ID: "copied"}}, w.down
}

// Emit implements progress.Sink.
func (w *world) Emit(e progress.Event) {
	switch e := e.(type) {
	case progress.StepStarted:
		w.shown = append(w.shown, e.Text)
	case progress.StepDone:
		w.shown = append(w.shown, fmt.Sprint("ended: ", e.Err))
	case progress.Note:
		w.shown = append(w.shown, e.Text)
	}
}

// resolver builds the images of targets as "built".
func (w *world) resolver(policy bases.PullPolicy) *bases.Resolver {
	return bases.New(w.options(policy))
}

func (w *world) options(policy bases.PullPolicy) bases.Options {
	return bases.Options{
		Images: w, Layers: w, Transfer: w, Registry: session.Registry{AuthFile: "auth.json"}, Pull: policy, Progress: w,
		Asides: progress.NewAsides(w), Process: &userns.Mapping{},
		Build: func(_ context.Context, where string, platform ocispec.Platform) (images.Found, error) {
			w.note("build %s for %s", where, platform.Architecture)
			return images.Found{Base: imagebuilder.Base{ID: "built"}}, w.down
		},
	}
}

func image(id, platform string) images.Found {
	img := images.Found{Base: imagebuilder.Base{ID: id, Name: "docker.io/" + id}}
	if platform != "" {
		img.Image.Platform = platforms.MustParse(platform)
	}
	return img
}

func wanted(platform string, asked bool) plan.Wanted {
	return plan.Wanted{Platform: platforms.MustParse(platform), Asked: asked}
}

func TestWhereAnImageComesFrom(t *testing.T) {
	t.Parallel()
	const find, pulls = "find app for arm64", "pull app for arm64 from auth.json"
	down := errors.New("registry is down")
	for name, test := range map[string]struct {
		has, served string // what the store's image is for, and the registry's; empty: there is none
		policy      bases.PullPolicy
		asked       bool // a --platform names it
		down        error
		broken      error
		id, says    string
		questions   []string
	}{
		"in the store":         {has: "linux/arm64", id: "stored", questions: []string{find}},
		"an earlier variant":   {has: "linux/arm64/v8", id: "stored", questions: []string{find}},
		"missing":              {served: "linux/arm64", id: "served", questions: []string{find, pulls}},
		"for another platform": {has: "linux/amd64", served: "linux/arm64", id: "served", questions: []string{find, pulls}},
		"always": {has: "linux/arm64", served: "linux/arm64", policy: bases.PullAlways, id: "served",
			questions: []string{pulls}},
		"newer": {has: "linux/arm64", served: "linux/arm64", policy: bases.PullNewer, id: "served",
			questions: []string{find, pulls}},
		"newer, missing": {served: "linux/arm64", policy: bases.PullNewer, id: "served", questions: []string{find, pulls}},
		"newer, down": {has: "linux/arm64", policy: bases.PullNewer, down: down, id: "stored",
			questions: []string{find, pulls}},
		"newer, down and missing": {policy: bases.PullNewer, down: down, says: "registry is down",
			questions: []string{find, pulls}},
		"newer, owners beyond the ranges": {has: "linux/arm64", policy: bases.PullNewer, down: &pull.MissingIDs{},
			says: "ranges", questions: []string{find, pulls}},
		"newer, another's": {has: "linux/amd64", policy: bases.PullNewer, down: down, id: "stored",
			questions: []string{find, pulls}},
		"newer, another asked": {has: "linux/amd64", policy: bases.PullNewer, asked: true, down: down,
			says: "FROM --platform=linux/amd64", questions: []string{find, pulls}},
		"newer, a broken store": {policy: bases.PullNewer, broken: errors.New("bad records"), says: "bad records",
			questions: []string{find}},
		"never, another's": {has: "linux/amd64", policy: bases.PullNever, id: "stored", questions: []string{find}},
		"never, another asked": {has: "linux/amd64", policy: bases.PullNever, asked: true, says: "forbids to fetch another",
			questions: []string{find}},
		"never, missing": {policy: bases.PullNever, says: "--pull=never forbids to fetch it",
			questions: []string{find}},
		"down, another's": {has: "linux/amd64", down: down, id: "stored", questions: []string{find, pulls}},
		"down, another asked": {has: "linux/amd64", asked: true, down: down, says: "FROM --platform=linux/amd64",
			questions: []string{find, pulls}},
		"down, missing":          {down: down, says: "registry is down", questions: []string{find, pulls}},
		"a store that is broken": {broken: errors.New("bad records"), says: "bad records", questions: []string{find}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{has: map[string]images.Found{}, served: map[string]images.Found{}, down: test.down,
				broken: test.broken}
			if test.has != "" {
				w.has["app"] = image("stored", test.has)
			}
			if test.served != "" {
				w.served["app"] = image("served", test.served)
			}
			r := w.resolver(test.policy)
			base, err := r.Resolve(t.Context(), "app", wanted("linux/arm64", test.asked))
			if base.ID != test.id || (err == nil) != (test.says == "") || err != nil &&
				!strings.Contains(err.Error(), test.says) {
				t.Errorf("got image %q, %v", base.ID, err)
			}
			if diff := cmp.Diff(test.questions, w.asked); diff != "" {
				t.Error(diff)
			}
			if err == nil && r.Image(test.id).ID != test.id {
				t.Errorf("the resolver has forgotten %s", test.id)
			}
		})
	}
}

func TestAnEarlierVariantIsTheLastResortOfWhoHasAskedForALaterOne(t *testing.T) {
	t.Parallel()
	const find, pulls = "find app for arm", "pull app for arm from auth.json"
	for name, test := range map[string]struct {
		has    string
		policy bases.PullPolicy
		asked  bool
		down   error
		id     string
		says   string
		asks   []string
	}{
		"the variant":      {has: "linux/arm/v7", asked: true, id: "stored", asks: []string{find}},
		"nobody has asked": {has: "linux/arm/v6", id: "stored", asks: []string{find}},
		"asked":            {has: "linux/arm/v6", asked: true, id: "served", asks: []string{find, pulls}},
		"asked, down": {has: "linux/arm/v6", asked: true, down: errors.New("down"), id: "stored",
			asks: []string{find, pulls}},
		"asked, never": {has: "linux/arm/v6", asked: true, policy: bases.PullNever, id: "stored", asks: []string{find}},
		"newer": {has: "linux/arm/v6", asked: true, policy: bases.PullNewer, id: "served",
			asks: []string{find, pulls}},
		"a later one, down": {has: "linux/arm/v8", asked: true, down: errors.New("down"), says: "linux/arm/v8",
			asks: []string{find, pulls}},
	} {
		w := &world{has: map[string]images.Found{"app": image("stored", test.has)},
			served: map[string]images.Found{"app": image("served", "linux/arm/v7")}, down: test.down}
		base, err := w.resolver(test.policy).Resolve(t.Context(), "app", wanted("linux/arm/v7", test.asked))
		if base.ID != test.id || (err == nil) != (test.says == "") || err != nil &&
			!strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: image %q, %v", name, base.ID, err)
		}
		if diff := cmp.Diff(test.asks, w.asked); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestImagesWithoutAPlatformFitAny(t *testing.T) {
	t.Parallel()
	w := &world{has: map[string]images.Found{"app": image("plain", "")}}
	base, err := w.resolver("").Resolve(t.Context(), "app", wanted("linux/s390x", true))
	if err != nil || base.ID != "plain" {
		t.Errorf("got %q, %v", base.ID, err)
	}
}

func TestPlansForTheSamePlatformAskOnce(t *testing.T) {
	t.Parallel()
	w := &world{has: map[string]images.Found{"app": image("stored", "")}}
	r := w.resolver("")
	for _, platform := range []string{"linux/arm64", "linux/amd64", "linux/arm64"} {
		if _, err := r.Resolve(t.Context(), "app", wanted(platform, false)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"find app for arm64", "find app for amd64"}; !cmp.Equal(w.asked, want) {
		t.Errorf("asked %q", w.asked)
	}
}

func TestWhatIsDoneBesideTheStepsIsShown(t *testing.T) {
	t.Parallel()
	w := &world{has: map[string]images.Found{"app": image("stored", "linux/amd64")}, down: errors.New("down")}
	if _, err := w.resolver("").Resolve(t.Context(), "app", wanted("linux/arm64", false)); err != nil {
		t.Fatal(err)
	}
	want := []string{"pulling app", "ended: context canceled",
		"using the image in the store, which is for linux/amd64: down"}
	if diff := cmp.Diff(want, w.shown); diff != "" {
		t.Error(diff)
	}
}

// odd is an image whose layer has another ID than other tools would give it.
func odd() images.Found {
	img := image("stored", "linux/arm64")
	img.Layers = []store.Layer{{ID: "odd", DiffID: digest.FromString("layer")}}
	return img
}

func TestLayersGetUsualIDsUnlessTheyAreOnlyLookedAt(t *testing.T) {
	t.Parallel()
	for name, looks := range map[string]bool{"to build": false, "to look": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{has: map[string]images.Found{"app": odd()}}
			o := w.options("")
			if looks {
				o.Build = nil
			}
			r := bases.New(o)
			if _, err := r.Resolve(t.Context(), "app", wanted("linux/arm64", false)); err != nil {
				t.Fatal(err)
			}
			top, questions := "usual", []string{"find app for arm64", "rechain 1", "move stored to usual"}
			if looks {
				top, questions = "odd", questions[:1]
			}
			if got := r.Image("stored").Layers[0].ID; got != top || !cmp.Equal(w.asked, questions) {
				t.Errorf("the layer is %s, asked %q", got, w.asked)
			}
		})
	}
	w := &world{has: map[string]images.Found{"app": odd()}, down: errors.New("no room")}
	_, err := w.resolver("").Resolve(t.Context(), "app", wanted("linux/arm64", false))
	if err == nil || err.Error() != "base image docker.io/stored: no room" {
		t.Errorf("got %v", err)
	}
}

func TestTargetsAreBuilt(t *testing.T) {
	t.Parallel()
	w := new(world)
	base, err := w.resolver("").Resolve(t.Context(), plan.TargetRef+"lib#dev", wanted("linux/arm64", false))
	if err != nil || base.ID != "built" || !cmp.Equal(w.asked, []string{"build lib#dev for arm64"}) {
		t.Errorf("got %q, %v, asked %q", base.ID, err, w.asked)
	}
	o := w.options("")
	o.Build = nil
	if _, err := bases.New(o).Resolve(t.Context(), plan.TargetRef+"lib", wanted("linux/arm64", false)); !errors.Is(err,
		plan.ErrUnknownImage) {
		t.Errorf("looked at: %v", err)
	}
}

// layoutOf makes an OCI layout whose index names one manifest, which nobody reads.
func layoutOf(t *testing.T, manifest digest.Digest) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		ocispec.ImageLayoutFile: `{"imageLayoutVersion":"1.0.0"}`,
		ocispec.ImageIndexFile: fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":2}]}`,
			ocispec.MediaTypeImageManifest, manifest),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLayoutsAreCopied(t *testing.T) {
	t.Parallel()
	manifest := digest.FromString("{}")
	dir := layoutOf(t, manifest)
	w := new(world)
	base, err := w.resolver("").Resolve(t.Context(), plan.LayoutRef+dir, wanted("linux/arm64", false))
	if err != nil || base.ID != "copied" || !cmp.Equal(w.asked, []string{"copy " + manifest.String() + " for arm64"}) {
		t.Errorf("got %q, %v, asked %q", base.ID, err, w.asked)
	}
	if !cmp.Equal(w.shown, []string{"copying oci-layout://" + dir, "ended: <nil>"}) {
		t.Errorf("shown is %q", w.shown)
	}
	if _, err := w.resolver("").Resolve(t.Context(), plan.LayoutRef+t.TempDir(), wanted("linux/arm64",
		false)); err == nil {
		t.Error("an empty directory was copied")
	}
}

func TestMissingIDsComeWithARemedy(t *testing.T) {
	t.Parallel()
	w := &world{down: &pull.MissingIDs{Image: "app", UIDs: []uint32{70000}}}
	o := w.options(bases.PullAlways)
	ids, err := userns.NewMap(userns.Range{Host: 1000, Length: 1}, userns.Range{Container: 1, Host: 100000, Length: 65535})
	if err != nil {
		t.Fatal(err)
	}
	o.User, o.Process = userns.User{Name: "alice", ID: 1000}, &userns.Mapping{UIDs: ids, GIDs: ids}
	_, err = bases.New(o).Resolve(t.Context(), "app", wanted("linux/arm64", false))
	if missing := new(pull.MissingIDs); !errors.As(err, &missing) || !strings.Contains(err.Error(), "alice") {
		t.Errorf("got %v", err)
	}
}

func TestALocalStoreThatSaysNothingIsNoError(t *testing.T) {
	t.Parallel()
	empty := func() (*images.Peeker, error) {
		return images.NewPeeker(store.Options{Root: filepath.Join(t.TempDir(), "none")})
	}
	broken := func() (*images.Peeker, error) { return nil, errors.New("storage.conf is broken") }
	for name, peek := range map[string]func() (*images.Peeker, error){"empty": empty, "broken": broken} {
		_, err := bases.Local{Peek: peek}.Resolve(t.Context(), "app", plan.Wanted{})
		if !errors.Is(err, plan.ErrUnknownImage) || name == "broken" && !strings.Contains(err.Error(), "storage.conf") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
