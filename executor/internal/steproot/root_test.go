package steproot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/steproot"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }

// image is a layer, the directories of a step on it, and the step's root.
type image struct {
	t   *testing.T
	top string
	*steproot.Root
}

// newImage has the files of one layer: text by path, "/" at the end for a directory, "->" before a link's target.
func newImage(t *testing.T, files map[string]string) *image {
	t.Helper()
	i := &image{t: t, top: t.TempDir()}
	for _, d := range []string{"layer", "upper", "work"} {
		i.must(os.Mkdir(i.path(d), 0o755))
	}
	for name, text := range files {
		at := i.path("layer", name)
		target, isLink := strings.CutPrefix(text, "->")
		switch {
		case strings.HasSuffix(name, "/"):
			i.must(os.MkdirAll(at, 0o755))
		case isLink:
			i.must(os.Symlink(target, at))
		default:
			i.must(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644))
		}
	}
	return i
}

func (i *image) path(names ...string) string {
	return filepath.Join(append([]string{i.top}, names...)...)
}

func (i *image) must(errs ...error) {
	i.t.Helper()
	if err := errors.Join(errs...); err != nil {
		i.t.Fatal(err)
	}
}

func (i *image) dir(name string) *os.File {
	i.t.Helper()
	fd, err := unix.Open(i.path(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	i.must(err)
	f := os.NewFile(uintptr(fd), name)
	i.t.Cleanup(func() { f.Close() })
	return f
}

// open opens the root: an overlay, or the layer's directory itself.
func (i *image) open(plain bool) {
	i.t.Helper()
	rootfs := step.Rootfs{
		Lower: []*os.File{i.dir("layer")}, Upper: i.dir("upper"), Work: i.dir("work"), UserXattr: !asroot.Real(),
		Volatile: true,
	}
	if plain {
		rootfs = step.Rootfs{Dir: i.dir("layer")}
	}
	namespace, err := ids.New(step.Step{})
	i.must(err)
	i.Root, err = steproot.Open(rootfs, namespace)
	i.must(err)
}

// in gives the path of a file in the root.
func (i *image) in(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", i.Dir.Fd(), name) }

// list gives the files below a directory, other than itself.
func (i *image) list(name string) []string {
	i.t.Helper()
	var all []string
	i.must(filepath.WalkDir(i.path(name), func(at string, _ os.DirEntry, err error) error {
		if below, ok := strings.CutPrefix(at, i.path(name)+"/"); ok {
			all = append(all, below)
		}
		return err
	}))
	return all
}

// mountPoints are wanted in the tests: one whose parents are missing, one in a directory of the image, one that the
// image has.
func mountPoints() []inroot.Point {
	return []inroot.Point{{Name: "run/secrets/key"}, {Name: "usr/cache", Dir: true}, {Name: "usr/bin", Dir: true}}
}

func TestMountPointsLeaveNoTrace(t *testing.T) {
	old := time.Unix(1000, 0)
	for name, plain := range map[string]bool{"overlay": false, "directory": true} {
		t.Run(name, func(t *testing.T) {
			i := newImage(t, map[string]string{"usr/bin/sh": "x"})
			i.must(os.Chtimes(i.path("layer/usr"), old, old))
			before := i.list("layer")
			i.open(plain)
			i.must(i.ProvideKernels(), i.Provide(mountPoints()), i.Provide([]inroot.Point{{Name: "later"}}))
			for _, p := range append(mountPoints(), inroot.Point{Name: "proc", Dir: true}, inroot.Point{Name: "later"}) {
				if st, err := os.Stat(i.in(p.Name)); err != nil || st.IsDir() != p.Dir {
					t.Errorf("/%s: %v", p.Name, err)
				}
			}
			i.Ran = true
			i.must(i.Close())
			if after := i.list("layer"); !slices.Equal(before, after) {
				t.Errorf("the layer had %v, has %v", before, after)
			}
			if st, err := os.Stat(i.path("layer/usr")); err != nil || !st.ModTime().Equal(old) {
				t.Errorf("/usr was changed: %v", err)
			}
			if left := i.list("upper"); len(left) > 0 {
				t.Errorf("the step's layer has %v", left)
			}
			if slices.Contains(i.list("work"), "step-stubs") {
				t.Error("the mount points of this step alone are left")
			}
		})
	}
}

// A directory that hides what is below it can show a mount point only if it is made there.
func TestMountPointInAnOpaqueDirectoryLeavesNoTrace(t *testing.T) {
	for name, used := range map[string]bool{"unused": false, "used": true} {
		t.Run(name, func(t *testing.T) {
			i := newImage(t, map[string]string{"a/file": "x"})
			opaque := "trusted.overlay.opaque"
			if !asroot.Real() {
				opaque = "user.overlay.opaque"
			}
			i.must(unix.Setxattr(i.path("layer/a"), opaque, []byte("y"), 0))
			i.open(false)
			i.must(i.Provide([]inroot.Point{{Name: "a/b/c", Dir: true}}))
			want := []string(nil)
			if used {
				i.must(os.WriteFile(i.in("a/b/c/kept"), nil, 0o600))
				want = []string{"a", "a/b", "a/b/c", "a/b/c/kept"}
			}
			i.must(i.Close())
			if left := i.list("upper"); !slices.Equal(left, want) {
				t.Errorf("the step's layer has %v, want %v", left, want)
			}
		})
	}
}

func TestKernelsDirectoriesMustBeDirectories(t *testing.T) {
	for name, text := range map[string]string{"proc": "a file", "sys": "->usr", "dev": "->/elsewhere"} {
		t.Run(name, func(t *testing.T) {
			i := newImage(t, map[string]string{name: text})
			i.open(false)
			if err := i.ProvideKernels(); err == nil || !strings.Contains(err.Error(), "the image's /"+name) {
				t.Errorf("got %v", err)
			}
			i.must(i.Close())
		})
	}
}

func TestStepWithoutDirectoriesIsRefused(t *testing.T) {
	namespace, err := ids.New(step.Step{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := steproot.Open(step.Rootfs{}, namespace)
	if err == nil || !strings.Contains(err.Error(), "Upper and Work, or Dir") {
		t.Errorf("got %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// What is planted is the step's to change: only what it left alone is none of its layer.
func TestPlantedFileStaysIfTheStepChangesIt(t *testing.T) {
	tests := map[string]struct {
		change func(i *image, at string) error
		want   []string
	}{
		"left alone": {func(*image, string) error { return nil }, nil},
		"read":       {func(_ *image, at string) error { _, err := os.ReadFile(at); return err }, nil},
		"written to": {
			func(_ *image, at string) error { return os.WriteFile(at, []byte("mine"), 0o600) }, []string{"etc", "etc/hosts"},
		},
		"replaced": {
			func(i *image, at string) error {
				return errors.Join(os.WriteFile(at+"2", []byte("text"), 0o600), os.Rename(at+"2", at))
			}, []string{"etc", "etc/hosts"},
		},
		"beside it": {
			func(_ *image, at string) error { return os.WriteFile(at+"2", nil, 0o600) }, []string{"etc", "etc/hosts2"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i := newImage(t, map[string]string{"etc/passwd": "x"})
			i.open(false)
			if !i.Plant("etc/hosts", []byte("text")) {
				t.Fatal("not planted")
			}
			if text, err := os.ReadFile(i.in("etc/hosts")); string(text) != "text" {
				t.Errorf("it has %q (%v)", text, err)
			}
			i.must(test.change(i, i.in("etc/hosts")))
			i.must(i.Close())
			if got := i.list("upper"); !slices.Equal(got, test.want) {
				t.Errorf("the step's layer has %v, want %v", got, test.want)
			}
		})
	}
}

func TestNothingIsPlantedWhereItCannotBeTakenOut(t *testing.T) {
	for name, plain := range map[string]bool{"no directory": false, "root is a directory": true} {
		i := newImage(t, map[string]string{"usr/": ""})
		i.open(plain)
		at := "nowhere/hosts"
		if plain {
			at = "usr/hosts"
		}
		if i.Plant(at, nil) {
			t.Errorf("%s: planted", name)
		}
		i.must(i.Close())
	}
}

func TestOverwriteFollowsNoLink(t *testing.T) {
	i := newImage(t, map[string]string{"file": "a longer text", "link": "->secret", "secret": "s", "dir/": ""})
	i.must(unix.Mkfifo(i.path("layer/pipe"), 0o600))
	i.open(true)
	i.must(i.Overwrite("file", []byte("new")))
	for _, name := range []string{"link", "dir", "none", "pipe"} {
		if err := i.Overwrite(name, []byte("new")); err == nil {
			t.Errorf("%s was written to", name)
		}
	}
	i.must(i.Close())
	for name, want := range map[string]string{"file": "new", "secret": "s"} {
		if text, err := os.ReadFile(i.path("layer", name)); string(text) != want {
			t.Errorf("%s has %q (%v), want %q", name, text, err, want)
		}
	}
}

func TestLayerThatIsStillWrittenToIsNotTaken(t *testing.T) {
	i := newImage(t, nil)
	i.open(false)
	f, err := os.Create(i.in("open"))
	i.must(err)
	i.Ran = true
	if err := i.Close(); !errors.Is(err, step.ErrStillWritten) {
		t.Errorf("a file is open for writing: %v", err)
	}
	i.must(f.Close())
}
