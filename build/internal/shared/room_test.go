package shared_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

func TestAnotherMachineTakesLayersWhenItNeedsThem(t *testing.T) {
	t.Parallel()
	dir, top := filled(t, "one", "nothing", "two", "three")
	m := newMachine(t, places{from: []string{"type=local,src=" + dir}}, nil)
	r, cached := m.chain(t, "one", "nothing", "two")
	if cached != "yyy" || r.IsPresent() || m.Depot.Store.HasLayer(r.Top()) {
		t.Errorf("cached %s, in the store %v", cached, r.IsPresent())
	}
	whole, cached := m.chain(t, "one", "nothing", "two", "three")
	if cached != "yyyy" || whole.Top() != top || whole.IsPresent() {
		t.Errorf("cached %s, %s, not %s", cached, whole.Top(), top)
	}
	if got := m.List(t, whole); got != "one=one three=three two=two" {
		t.Errorf("holds %s", got)
	}
	if !whole.IsPresent() || !r.IsPresent() && m.List(t, r) == "" || len(m.pulled) != 3 {
		t.Errorf("fetched %v", m.pulled)
	}
	alone := m.Again(t, rootfs.Options{})
	if again, cached := alone.Do(t, r, roottest.Files("three", "three=three")); !cached || again.Top() != top {
		t.Errorf("without the place: cached %v", cached)
	}
}

func TestAStepThatIsRunStandsOnFetchedLayers(t *testing.T) {
	t.Parallel()
	dir, _ := filled(t, "one", "two")
	m := newMachine(t, places{from: []string{"type=local,src=" + dir}, to: []string{"type=local,dest=" + dir}}, nil)
	r, cached := m.chain(t, "one", "other")
	if got := m.List(t, r); cached != "yn" || got != "one=one other=other" || len(m.pulled) != 1 {
		t.Errorf("cached %s: %s, fetched %v", cached, got, m.pulled)
	}
	if err := m.save(t); err != nil {
		t.Fatal(err)
	}
	next := newMachine(t, places{from: []string{"type=local,src=" + dir}}, nil)
	for _, steps := range [][]string{{"one", "other"}, {"one", "two"}} {
		if _, cached := next.chain(t, steps...); cached != "yy" {
			t.Errorf("%v: cached %s", steps, cached)
		}
	}
}

func TestLayersThatWereNeverFetchedStayInThePlace(t *testing.T) {
	t.Parallel()
	dir, _ := filled(t, "one", "two")
	m := newMachine(t, places{from: []string{"type=local,src=" + dir},
		to: []string{"type=local,mode=max,dest=" + dir}}, nil)
	if _, cached := m.chain(t, "one", "two"); cached != "yy" {
		t.Errorf("cached %s", cached)
	}
	m.chain(t, "apart")
	if err := m.save(t); err != nil || len(m.pulled) > 0 {
		t.Errorf("%v, fetched %v", err, m.pulled)
	}
	next := newMachine(t, places{from: []string{"type=local,src=" + dir}}, nil)
	if r, cached := next.chain(t, "one", "two"); cached != "yy" || next.List(t, r) != "one=one two=two" {
		t.Errorf("cached %s", cached)
	}
}

func TestALinkedLayerIsTakenOnAnotherRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newMachine(t, places{to: []string{"type=local,mode=max,dest=" + dir}}, nil)
	link := &roottest.Step{Name: "link", Files: []string{"l=1"}, Linked: true}
	one, _ := m.chain(t, "one")
	m.Do(t, one, link)
	if err := m.save(t); err != nil {
		t.Fatal(err)
	}
	next := newMachine(t, places{from: []string{"type=local,src=" + dir}}, nil)
	below, _ := next.chain(t, "another")
	if r, cached := next.Do(t, below, link); !cached || next.List(t, r) != "another=another l=1" {
		t.Errorf("cached %v", cached)
	}
}

func TestOnlyStepsOfTheImageAreKeptIfAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newMachine(t, places{to: []string{"type=local,dest=" + dir}}, nil)
	m.chain(t, "image")
	side := roottest.Files("side", "s=1")
	if _, _, err := m.Make(t.Context(), &plan.Step{Text: "RUN side"}, rootfs.Scratch(), side); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Wait(), m.save(t)); err != nil {
		t.Fatal(err)
	}
	next := newMachine(t, places{from: []string{"type=local,src=" + dir}}, nil)
	_, had := next.Do(t, rootfs.Scratch(), side)
	if _, cached := next.chain(t, "image"); cached != "y" || had {
		t.Errorf("image %s, side %v", cached, had)
	}
}

func TestADamagedBlobHasTheStepRunInstead(t *testing.T) {
	t.Parallel()
	dir, _ := filled(t, "one", "two")
	var gone []string
	for _, path := range blobsOf(t, dir) {
		if text, err := os.ReadFile(path); err == nil && text[0] == 0x1f {
			gone = append(gone, path)
		}
	}
	for what, damage := range map[string]func(path string) error{
		"changed": func(path string) error { return os.WriteFile(path, []byte("not what it was"), 0o600) }, "gone": os.Remove,
	} {
		for _, path := range gone {
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
		}
		m := newMachine(t, places{from: []string{"type=local,src=" + dir}}, nil)
		r, cached := m.chain(t, "one", "two")
		_, err := m.View(t.Context(), r, rootfs.NS{})
		if broken := new(rootfs.BrokenCacheError); cached != "yy" || !errors.As(err, &broken) || !rootfs.Lost(err) {
			t.Errorf("%s: cached %s, %v", what, cached, err)
		}
		m.says(t, "it is not used any more")
		next := m.Again(t, rootfs.Options{Shared: m.room.Reader()})
		if _, had := next.Do(t, rootfs.Scratch(), roottest.Files("one", "one=one")); had {
			t.Errorf("%s: the next attempt counts on it again", what)
		}
	}
}

func blobsOf(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	return all
}

func TestAPlaceThatIsNoneCostsANote(t *testing.T) {
	home := registrytest.Home(t, "")
	silent := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(silent)
	server := registrytest.New(t)
	image := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"mediaType":"` +
		ocispec.MediaTypeImageConfig + `","digest":"sha256:` + strings.Repeat("0", 64) + `","size":2},"layers":[]}`
	server.Set("app/manifests/image", []byte(image))
	for from, want := range map[string]string{
		server.Host() + "/app:nothing":                        "there is nothing yet",
		server.Host() + "/app:image":                          "is no cache of cooper: its type is \"application/vnd.oci.image.config",
		"127.0.0.1:1/app:closed":                              "refused",
		strings.TrimPrefix(slow.URL, "http://") + "/app:slow": "it takes longer than 50ms",
		"type=local,src=" + home + "/none":                    "there is nothing yet",
	} {
		m := newMachine(t, places{from: []string{from}}, func(o *shared.Options) {
			if strings.Contains(from, "slow") {
				o.Patience = 50 * time.Millisecond
			}
		})
		if _, cached := m.chain(t, "one"); cached != "n" {
			t.Errorf("%s: cached %s", from, cached)
		}
		m.says(t, want)
	}
}

func TestAnImageIsNotReplacedByACacheButAnotherBuildersCacheIs(t *testing.T) {
	registrytest.Home(t, "")
	server := registrytest.New(t)
	manifest := func(config string) []byte {
		text, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest,
			Config: ocispec.Descriptor{MediaType: config, Digest: digest.FromString("{}"), Size: 2}})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	server.Set("app/manifests/image", manifest(ocispec.MediaTypeImageConfig))
	server.Set("app/manifests/other", manifest("application/vnd.buildkit.cacheconfig.v0"))
	m := newMachine(t, places{to: []string{server.Host() + "/app:image"}}, nil)
	m.chain(t, "one")
	registrytest.Wants(t, m.save(t), "write the cache to "+server.Host()+"/app:image", "hint: it is not replaced")
	m = newMachine(t, places{to: []string{server.Host() + "/app:other"}}, nil)
	m.chain(t, "one")
	if err := m.save(t); err != nil {
		t.Error(err)
	}
	got := server.Manifest("app/manifests/other")
	if got == nil || got.ArtifactType != "application/vnd.cooper.cache.v1" ||
		len(got.Layers) != 1 {
		t.Errorf("%+v", got)
	}
	m = newMachine(t, places{to: []string{"type=registry,ignore-error=true,ref=" + server.Host() + "/app:image"}}, nil)
	m.chain(t, "one")
	if err := m.save(t); err != nil {
		t.Error(err)
	}
	m.says(t, "the cache was not written to")
}

// TestManyWritersLoseNothing has machines write to the same places at once.
func TestManyWritersLoseNothing(t *testing.T) {
	registrytest.Home(t, "")
	server, dir := registrytest.New(t), t.TempDir()
	to := []string{server.Host() + "/app:c", "type=local,mode=max,dest=" + dir}
	names := []string{"one", "two", "three", "four"}
	var all sync.WaitGroup
	for _, name := range names {
		m := newMachine(t, places{to: to}, nil)
		m.chain(t, name)
		all.Go(func() {
			if err := m.save(t); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, from := range []string{server.Host() + "/app:c", "type=local,src=" + dir} {
		m := newMachine(t, places{from: []string{from}}, nil)
		for _, name := range names {
			if r, cached := m.chain(t, name); cached != "y" || m.List(t, r) != name+"="+name {
				t.Errorf("%s: %s: cached %s", from, name, cached)
			}
		}
	}
}

func TestRecordsWhoseBlobsTheRegistryHasLostAreLeftOut(t *testing.T) {
	registrytest.Home(t, "")
	server := registrytest.New(t)
	to := server.Host() + "/app:c"
	m := newMachine(t, places{to: []string{to}}, nil)
	m.chain(t, "one")
	if err := m.save(t); err != nil {
		t.Fatal(err)
	}
	server.Set("app/blobs/"+server.Manifest("app/manifests/c").Layers[0].Digest.String(), nil)
	m = newMachine(t, places{to: []string{to}}, nil)
	m.chain(t, "two")
	if err := m.save(t); err != nil {
		t.Fatal(err)
	}
	m = newMachine(t, places{from: []string{to}}, nil)
	if r, cached := m.chain(t, "two"); cached != "y" || m.List(t, r) != "two=two" {
		t.Errorf("cached %s", cached)
	}
}

func TestADirectoryOfSomethingElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	registrytest.Write(t, filepath.Join(dir, "photos"), "mine")
	m := newMachine(t, places{to: []string{"type=local,dest=" + dir}}, nil)
	m.chain(t, "one")
	registrytest.Wants(t, m.save(t), dir, "is neither empty nor an OCI image layout")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestADirectoryKeepsNoBlobThatNothingNames(t *testing.T) {
	t.Parallel()
	dir, _ := filled(t, "one")
	before := len(blobsOf(t, dir))
	registrytest.Write(t, filepath.Join(dir, "blobs/sha256", digest.FromString("old").Encoded()), "old")
	registrytest.Write(t, filepath.Join(dir, "blobs/sha256/.new-killed"), "half")
	m := newMachine(t, places{from: []string{"type=local,src=" + dir},
		to: []string{"type=local,mode=max,dest=" + dir}}, nil)
	m.chain(t, "one", "two")
	if err := m.save(t); err != nil {
		t.Fatal(err)
	}
	if after := blobsOf(t, dir); len(after) != before+1 {
		t.Errorf("%d blobs before, now %v", before, after)
	}
	if _, err := sharedcache.From("type=local,src=" + dir); err != nil {
		t.Error(err)
	}
}

func TestWithoutPlacesNoStepIsNear(t *testing.T) {
	t.Parallel()
	room := shared.New(t.Context(), shared.Options{})
	if r, from := room.Near(t.Context(), lightKey("a"), ""); r != nil || from != "" {
		t.Errorf("%v, %q", r, from)
	}
}
