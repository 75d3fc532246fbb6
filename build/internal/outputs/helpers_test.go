package outputs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// room is a room of outputs, and the build whose images it makes.
type room struct {
	Room
	*roottest.Build
	// roots are those of the steps, by ID.
	roots []*rootfs.Root
}

// newRoom begins a build in a store of its own.
func newRoom(t *testing.T, o Options) *room {
	t.Helper()
	return withRoom(roottest.New(t, store.Options{Driver: "overlay"}, rootfs.Options{Date: o.Date}), o)
}

func withRoom(b *roottest.Build, o Options) *room {
	if o.Images == nil {
		o.Images = b.Depot.Images
	}
	o.Layers, o.Cache, o.Roots = b.Depot.Store, b.Cache, b.Roots
	o.Blobs = blobs.New(blobs.Options{Cache: b.Cache, Dir: b.Depot.Store.Paths().Remote(), Offline: true})
	o.Progress, o.Shown = b.Shown, progress.NewAsides(b.Shown)
	return &room{Room: New(o), Build: b}
}

// again is another build of the same store.
func (r *room) again(t *testing.T, o Options) *room {
	t.Helper()
	return withRoom(r.Again(t, rootfs.Options{Date: o.Date}), o)
}

// instruction is a step of a stage: its text in the history, and the files that it writes.
type instruction struct {
	text string
	*roottest.Step
}

func run(text string, files ...string) instruction {
	return instruction{"RUN " + text, roottest.Files(text, files...)}
}

func env(text string) instruction { return instruction{text: "ENV " + text} }

func amd64() ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: "amd64"} }

// stage has the steps of a stage on scratch done.
func (r *room) stage(t *testing.T, steps ...instruction) *plan.Stage {
	t.Helper()
	return r.stageFor(t, imagebuilder.Image{Platform: amd64()}, steps...)
}

func (r *room) stageFor(t *testing.T, image imagebuilder.Image, steps ...instruction) *plan.Stage {
	t.Helper()
	stage := &plan.Stage{Image: image}
	root := rootfs.Scratch()
	add := func(createdBy string) *plan.Step {
		s := &plan.Step{ID: len(r.roots), Stage: stage, Parent: stage.Last, CreatedBy: createdBy, Image: &stage.Image}
		stage.Last, r.roots = s, append(r.roots, root)
		return s
	}
	add("")
	for _, in := range steps {
		if in.Step != nil {
			root, _ = r.Do(t, root, in.Step)
		}
		add(in.text)
	}
	return stage
}

// finish makes the images of stages.
func (r *room) finish(t *testing.T, names []string, stages ...*plan.Stage) Made {
	t.Helper()
	made, err := r.Finish(t.Context(), stages, r.roots, names)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (r *room) find(t *testing.T, name string) images.Found {
	t.Helper()
	found, err := r.Depot.Images.Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// members lists an archive: each path with its mode, owner and content.
func members(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(all, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h.Name+"="+string(text))
	}
}

// recorded are the images that a room wants recorded; err is what each answers.
type recorded struct {
	mu      sync.Mutex
	records []images.Record
	indexes []images.IndexRecord
	err     error
}

func (r *recorded) Put(_ context.Context, record images.Record) (string, digest.Digest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
	return "id", digest.FromBytes(record.Config), r.err
}

func (r *recorded) PutIndex(_ context.Context, record images.IndexRecord) (digest.Digest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.indexes = append(r.indexes, record)
	return digest.FromString("index"), r.err
}
