package shared_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// machine is a build on a machine of its own: with an empty store.
type machine struct {
	*roottest.Build
	room  *shared.Room
	notes *roottest.Events

	mu  sync.Mutex
	met []shared.Met
	// pulled are the digests of the blobs that were fetched.
	pulled []digest.Digest
}

// places are the values of --cache-from and --cache-to.
type places struct{ from, to []string }

// newMachine begins a build; change, if it is not nil, changes its options.
func newMachine(t *testing.T, p places, change func(*shared.Options)) *machine {
	t.Helper()
	m := &machine{notes: &roottest.Events{}}
	var build *roottest.Build
	o := shared.Options{
		Registry: registry.Options{Insecure: true}, Progress: m.notes, Shown: progress.NewAsides(m.notes),
		Spool: func() (*os.File, error) { return outfile.Unnamed(t.TempDir()) },
		Pull: func(ctx context.Context, src content.Fetcher, diffIDs []digest.Digest, all []ocispec.Descriptor,
			told func(string, int64, int64)) error {
			return build.Depot.Pull.Layers(ctx, src, diffIDs, all, pull.CopyOptions{Progress: told,
				Keep: func(_ context.Context, d ocispec.Descriptor, _ *os.File) {
					m.mu.Lock()
					defer m.mu.Unlock()
					m.pulled = append(m.pulled, d.Digest)
				}})
		},
	}
	for _, text := range p.from {
		o.From = append(o.From, specs(t, sharedcache.From, text)...)
	}
	for _, text := range p.to {
		o.To = append(o.To, specs(t, sharedcache.To, text)...)
	}
	if change != nil {
		change(&o)
	}
	m.room = shared.New(t.Context(), o)
	t.Cleanup(m.room.Close)
	build = roottest.New(t, storetest.Drivers()["overlay"], rootfs.Options{Shared: m.room.Reader(), Noted: m.note})
	m.Build = build
	return m
}

func specs(t *testing.T, read func(string) ([]sharedcache.Spec, error), text string) []sharedcache.Spec {
	t.Helper()
	all, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (m *machine) note(s *plan.Step, shape, key cache.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.met = append(m.met, shared.Met{Shape: shape, Key: key, Side: s.Text == "RUN side"})
}

// save writes what the machine has met to its places.
func (m *machine) save(t *testing.T) error {
	t.Helper()
	kept := blobs.New(blobs.Options{Cache: m.Cache, Dir: filepath.Join(t.TempDir(), "remote"), Offline: true})
	defer kept.Close()
	return m.room.Save(t.Context(), shared.SaveOptions{
		Met: m.met, Records: m.Cache, Keep: kept.For,
		Layer: shared.LayersOf(m.Depot.Store),
	})
}

// chain has steps done, each on the one before, and tells which of them the cache had: y or n for each.
func (m *machine) chain(t *testing.T, steps ...string) (r *rootfs.Root, cached string) {
	t.Helper()
	r = rootfs.Scratch()
	for _, name := range steps {
		step := roottest.Files(name, name+"="+name)
		if name == "nothing" {
			step = roottest.Files(name)
		}
		var had bool
		r, had = m.Do(t, r, step)
		cached += map[bool]string{true: "y", false: "n"}[had]
	}
	return r, cached
}

// says checks that the notes have a text.
func (m *machine) says(t *testing.T, text string) {
	t.Helper()
	if all := m.notes.Text(); !strings.Contains(all, text) {
		t.Errorf("%q is not among the notes:\n%s", text, all)
	}
}

// filled is a directory with the results of steps.
func filled(t *testing.T, steps ...string) (dir string, top string) {
	t.Helper()
	dir = t.TempDir()
	m := newMachine(t, places{to: []string{"type=local,mode=max,dest=" + dir}}, nil)
	r, _ := m.chain(t, steps...)
	if err := m.save(t); err != nil {
		t.Fatal(err)
	}
	return dir, r.Top()
}
