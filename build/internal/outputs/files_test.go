package outputs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestOutputsHoldTheImageOrItsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r := newRoom(t, Options{Specs: []export.Spec{
		{Type: export.TypeLocal, Dest: at("files")}, {Type: export.TypeTar, Dest: at("files.tar")},
		{Type: export.TypeDocker, Dest: at("docker.tar")}, {Type: export.TypeOCI, Dest: at("oci"), Directory: true},
	}})
	stage := r.stage(t, run("one", "a=1", "d/b->../a"), run("two", "a=2"))
	made := r.finish(t, []string{"docker.io/library/app:1", "docker.io/library/app:2"}, stage)
	if got := roottest.List(t, at("files")); got != "a=2 d/ d/b->../a" {
		t.Errorf("the directory has %s", got)
	}
	if got := members(t, at("files.tar")); got != "a=2 d/= d/b=" {
		t.Errorf("the archive has %s", got)
	}
	if got := members(t, at("docker.tar")); !strings.Contains(got, "manifest.json=") || !strings.Contains(got, "app:2") {
		t.Errorf("the image has %s", got)
	}
	text, err := os.ReadFile(at("oci/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil || len(index.Manifests) != 1 ||
		index.Manifests[0].Digest != made.Manifest {
		t.Errorf("the layout has %s, %v; the manifest is %s", text, err, made.Manifest)
	}
	for _, shown := range []string{"files", "files.tar", "docker.tar", "oci"} {
		if !strings.Contains(r.Shown.Text(), "writing "+at(shown)) {
			t.Errorf("%s is not shown", shown)
		}
	}
	if made.Printed {
		t.Error("nothing has gone to standard output")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 4 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestWhatStandardOutputHasGotIsNotTakenBack(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "none", "x.tar")
	for name, specs := range map[string][]export.Spec{
		"all well":        {{Type: export.TypeTar, Dest: export.Stdout}},
		"another's fault": {{Type: export.TypeTar, Dest: export.Stdout}, {Type: export.TypeTar, Dest: nowhere}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			r := newRoom(t, Options{Specs: specs, Stdout: &out})
			stage := r.stage(t, run("one", "a=1"))
			made, err := r.Finish(t.Context(), []*plan.Stage{stage}, r.roots, nil)
			if (err == nil) != (len(specs) == 1) || !made.Printed {
				t.Errorf("printed: %t, %v", made.Printed, err)
			}
			if !bytes.Contains(out.Bytes(), []byte("a\x00")) {
				t.Errorf("standard output has %q", out.Bytes())
			}
		})
	}
}

func TestFilesOfSeveralPlatformsHaveDirectoriesOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	r := newRoom(t, Options{Specs: []export.Spec{{Type: export.TypeLocal, Dest: dir}}})
	r.finish(t, nil, r.stage(t, run("one", "a=1")), r.stageFor(t,
		imagebuilder.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}}, run("two", "a=2")))
	if got := roottest.List(t, dir); got != "linux_amd64/ linux_amd64/a=1 linux_arm_v7/ linux_arm_v7/a=2" {
		t.Errorf("written: %s", got)
	}
}

func TestAnEmptyImageHasNoFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRoom(t, Options{Specs: []export.Spec{
		{Type: export.TypeLocal, Dest: dir + "/files"}, {Type: export.TypeTar, Dest: dir + "/files.tar"}}})
	r.finish(t, nil, r.stage(t, env("A=1")))
	if got := roottest.List(t, dir+"/files") + members(t, dir+"/files.tar"); got != "" {
		t.Errorf("written: %s", got)
	}
}

func TestBitsThatGiveRightsAreTakenOffAndTold(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	r := newRoom(t, Options{Specs: []export.Spec{{Type: export.TypeLocal, Dest: dir}}})
	step := run("one", "bin/su=x", "plain=y")
	step.Then = func(_ context.Context, _ *rootfs.Staged, at string) error {
		return errors.Join(os.Chown(at+"/bin/su", 7, 8), os.Chmod(at+"/bin/su", 0o755|os.ModeSetuid))
	}
	r.finish(t, nil, r.stage(t, step))
	info, err := os.Stat(dir + "/bin/su")
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !strings.Contains(r.Shown.Text(), "all files become yours: bin/su; type=tar keeps them") {
		t.Errorf("shown: %s", r.Shown.Text())
	}
}

// TestANameNeverPointsAtAnImageWhoseOutputFailed has a name that an earlier image has.
func TestANameNeverPointsAtAnImageWhoseOutputFailed(t *testing.T) {
	t.Parallel()
	const name = "docker.io/library/app:1"
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, spec := range map[string]export.Spec{
		"image":     {Type: export.TypeOCI, Dest: file + "/x.tar"},
		"archive":   {Type: export.TypeTar, Dest: "/nowhere/at/all/x.tar"},
		"directory": {Type: export.TypeLocal, Dest: file},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t, Options{})
			first := r.finish(t, []string{name}, r.stage(t, run("one", "a=1")))
			next := r.again(t, Options{Specs: []export.Spec{spec}})
			stage := next.stage(t, run("two", "a=2"))
			_, err := next.Finish(t.Context(), []*plan.Stage{stage}, next.roots, []string{name, "docker.io/library/new:1"})
			if err == nil || !strings.HasPrefix(err.Error(), "write "+spec.Dest+": ") {
				t.Errorf("got %v", err)
			}
			if found := r.find(t, name); found.ID != first.ID.Encoded() {
				t.Errorf("the name is that of %s", found.ID)
			}
			if _, err := r.Depot.Images.Find(t.Context(), "docker.io/library/new:1"); !errors.Is(err, images.ErrNoImage) {
				t.Errorf("the new name: %v", err)
			}
			if strings.Contains(next.Shown.Text(), "tagged") {
				t.Errorf("shown: %s", next.Shown.Text())
			}
		})
	}
}

func TestACancelledOutputLeavesNothing(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped by the user")
	for _, kind := range []export.Type{export.TypeOCI, export.TypeDocker, export.TypeTar, export.TypeLocal} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := newRoom(t, Options{Specs: []export.Spec{{Type: kind, Dest: filepath.Join(dir, "out")}}})
			stage := r.stage(t, run("one", "a=1"))
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(stopped)
			if _, err := r.Finish(ctx, []*plan.Stage{stage}, r.roots, nil); err == nil {
				t.Error("it was written")
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
				t.Errorf("left behind: %v, %v", names, err)
			}
		})
	}
}

// TestFilesOfALayerThatIsGoneAreNotWritten is what is seen of a root whose layers another program has removed.
func TestFilesOfALayerThatIsGoneAreNotWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRoom(t, Options{Specs: []export.Spec{{Type: export.TypeLocal, Dest: filepath.Join(dir, "out")}}})
	stage := r.stage(t, run("one", "a=1"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Depot.Store.RemoveLayer(r.roots[stage.Last.ID].Top()); err != nil {
		t.Fatal(err)
	}
	_, err := r.Finish(t.Context(), []*plan.Stage{stage}, r.roots, nil)
	if err == nil {
		t.Error("it was written")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestTheFirstErrorOfUnpackingIsTold(t *testing.T) {
	t.Parallel()
	broken := errors.New("the layer can't be read")
	for name, test := range map[string]struct {
		write func(w io.Writer) error
		want  string
	}{
		"the writer's":        {func(io.Writer) error { return broken }, broken.Error()},
		"the writer's, later": {func(w io.Writer) error { _, _ = w.Write(make([]byte, 100)); return broken }, broken.Error()},
		"the writer's panic":  {func(io.Writer) error { panic("oh") }, "internal error in "},
		"no archive": {func(w io.Writer) error {
			_,
				err := w.Write([]byte(strings.Repeat("no tar ", 1000)))
			return err
		}, "tar"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := unpackFrom(t.Context(), t.TempDir(), test.write)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v", err)
			}
			if strings.Count(err.Error(), broken.Error()) > 1 || strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
				t.Errorf("it is told twice: %v", err)
			}
		})
	}
}

func TestFilesOfADirectoryOfTheImage(t *testing.T) {
	t.Parallel()
	for source, test := range map[string]struct{ want, wrong string }{
		"d":          {want: "x=1"},
		"/d/":        {want: "x=1"},
		"up":         {want: "x=1"}, // a link stays within the image
		"d/../d":     {want: "x=1"},
		"none":       {wrong: "src=none: the image has no such directory: no such file or directory"},
		"d/x":        {wrong: "src=d/x: the image has no such directory: not a directory"},
		"../../../d": {want: "x=1"},
		"circle":     {wrong: "src=circle: the image has no such directory: too many levels of symbolic links"},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		r := newRoom(t, Options{Specs: []export.Spec{{Type: export.TypeLocal, Dest: dir, Source: source}}})
		stage := r.stage(t, run("one", "d/x=1", "y=2", "up->../../../d", "circle->circle"))
		_, err := r.Finish(t.Context(), []*plan.Stage{stage}, r.roots, nil)
		if test.wrong != "" {
			if err == nil || err.Error() != "write "+dir+": "+test.wrong {
				t.Errorf("%s: %v", source, err)
			}
			continue
		}
		if got := roottest.List(t, dir); err != nil || got != test.want {
			t.Errorf("%s: %s, %v", source, got, err)
		}
	}
	r := newRoom(t, Options{Specs: []export.Spec{{Type: export.TypeTar, Dest: t.TempDir() + "/x", Source: "d"}}})
	_, err := r.Finish(t.Context(), []*plan.Stage{r.stage(t, env("A=1"))}, r.roots, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "src=d: the image has no files") {
		t.Errorf("an empty image: %v", err)
	}
}

// TestFilesOfSeveralPlatformsInOneDirectory must be different ones, and what was there before goes once.
func TestFilesOfSeveralPlatformsInOneDirectory(t *testing.T) {
	t.Parallel()
	arm := imagebuilder.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "arm64"}}
	for second, wrong := range map[string]string{"d/b=2": "",
		"d/a=2": "images for several platforms have d/a: platform-split=false has room for one"} {
		dir := filepath.Join(t.TempDir(), "out")
		if err := roottest.Plant(dir, "old=1"); err != nil {
			t.Fatal(err)
		}
		r := newRoom(t, Options{Specs: []export.Spec{{Type: export.TypeLocal, Dest: dir, Split: new(bool), Delete: true}}})
		_, err := r.Finish(t.Context(), []*plan.Stage{r.stage(t, run("one", "d/a=1")),
			r.stageFor(t, arm, run("two", second))},
			r.roots, nil)
		if wrong != "" {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%s: %v", second, err)
			}
			continue
		}
		if got := roottest.List(t, dir); err != nil || got != "d/ d/a=1 d/b=2" {
			t.Errorf("%s, %v", got, err)
		}
	}
}
