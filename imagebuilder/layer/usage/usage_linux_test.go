package usage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

func mustMeasure(t *testing.T, dir string) usage.Size {
	t.Helper()
	size, err := usage.Measure(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// fill makes a file with data in it.
func fill(t *testing.T, path string, size int) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, make([]byte, size), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// allocated is what a file takes on disk.
func allocated(t *testing.T, paths ...string) (total int64) {
	t.Helper()
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		total += st.Blocks * 512
	}
	return total
}

func TestAFileWithSeveralNamesCountsOnce(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	fill(t, a+"/d/one", 1<<20)
	fill(t, a+"/alone", 8192)
	fill(t, b+"/own", 4096)
	if err := errors.Join(os.Link(a+"/d/one", a+"/two"), os.Link(a+"/alone", b+"/shared")); err != nil {
		t.Fatal(err)
	}
	sizeA, sizeB := mustMeasure(t, a), mustMeasure(t, b)
	dirsA, dirsB, shared := allocated(t, a, a+"/d"), allocated(t, b), allocated(t, a+"/alone")
	if want := dirsA + allocated(t, a+"/two") + shared/2; sizeA.Bytes != want || len(sizeA.Links) != 1 {
		t.Errorf("%+v, want %d bytes", sizeA, want)
	}
	if want := dirsB + allocated(t, b+"/own") + shared/2; sizeB.Bytes != want {
		t.Errorf("%+v, want %d bytes", sizeB, want)
	}
	if freed := usage.Freed(sizeA); freed != sizeA.Bytes-shared/2 {
		t.Errorf("without the one %d bytes are given back", freed)
	}
	if freed := usage.Freed(sizeA, sizeB); freed != sizeA.Bytes+sizeB.Bytes {
		t.Errorf("without both %d bytes are given back", freed)
	}
	if whole := mustMeasure(t, root); whole.Bytes != sizeA.Bytes+sizeB.Bytes+allocated(t, root) || len(whole.Links) != 0 {
		t.Errorf("together: %+v", whole)
	}
}

func TestReadSaysWhatTheLayerTakes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "layer")
	fill(t, dir+"/x/y/file", 100_000)
	fill(t, dir+"/x/linked", 5000)
	fill(t, dir+"/empty", 0)
	if err := errors.Join(os.Link(dir+"/x/linked", dir+"/again"), os.Symlink("/etc", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	read := func() layer.Result {
		res, err := layer.Read(t.Context(), dir, layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := read(); res.Linked || res.Disk+allocated(t, dir) != mustMeasure(t, dir).Bytes {
		t.Errorf("read: %+v, measured: %+v", res, mustMeasure(t, dir))
	}
	if err := os.Link(dir+"/x/linked", filepath.Join(root, "outside")); err != nil {
		t.Fatal(err)
	}
	if res := read(); !res.Linked || res.Disk+allocated(t, dir) != mustMeasure(t, dir).Bytes {
		t.Errorf("read: %+v, measured: %+v", res, mustMeasure(t, dir))
	}
}

func TestMeasureFollowsNoLink(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	fill(t, root+"/outside/large", 1<<20)
	fill(t, root+"/in/small", 10)
	if err := errors.Join(os.Symlink(root+"/outside", root+"/in/out"), os.Symlink(root+"/in", root+"/link")); err != nil {
		t.Fatal(err)
	}
	if size := mustMeasure(t, root+"/in"); size.Bytes > 100_000 {
		t.Errorf("%d bytes", size.Bytes)
	}
	if _, err := usage.Measure(t.Context(), root+"/link"); err == nil {
		t.Error("a link was measured")
	}
	if _, err := usage.Measure(t.Context(), root+"/gone"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := usage.Measure(ctx, root+"/in"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestMeasureTakesDeepTrees has more levels than a process has descriptors, and than a path has room for.
func TestMeasureTakesDeepTrees(t *testing.T) {
	t.Parallel()
	const deep = 3000
	root := t.TempDir()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for n := range deep {
		if err != nil {
			t.Fatal(err)
		}
		name := strconv.Itoa(n)
		err = unix.Mkdirat(fd, name, 0o755)
		var next int
		if err == nil {
			next, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		}
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	if size := mustMeasure(t, root); size.Bytes < deep*4096 {
		t.Errorf("%d bytes", size.Bytes)
	}
}
