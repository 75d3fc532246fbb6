package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
	"github.com/cooperbuild/cooper/imagebuilder/layer/merge"
	"github.com/cooperbuild/cooper/userns/asroot"
)

// hookWriter calls hook at the first write.
type hookWriter struct{ hook func() }

func (w *hookWriter) Write(p []byte) (int, error) {
	if w.hook != nil {
		w.hook()
		w.hook = nil
	}
	return len(p), nil
}

func TestReadStopsWhenCancelled(t *testing.T) {
	dir := t.TempDir()
	treetest.Check(t, os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755))
	treetest.Check(t, os.WriteFile(filepath.Join(dir, "a/b/c/big"), make([]byte, 32<<20), 0o600))
	goroutines, files := runtime.NumGoroutine(), treetest.OpenFiles(t)
	why := errors.New("user has had enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := Read(ctx, dir, Options{Tar: &hookWriter{func() { cancel(why) }}, TarSplit: io.Discard})
	if !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	treetest.NothingLeft(t, goroutines, files)
	if _, err := Read(ctx, t.TempDir(), Options{}); !errors.Is(err, why) {
		t.Errorf("with a context that is done: %v", err)
	}
}

func TestReadNoticesAFileThatChanges(t *testing.T) {
	for name, change := range map[string]int64{"grows": 8 << 20, "shrinks": -7 << 20, "grows by 1": 1,
		"shrinks by 1": -1} {
		for kind, size := range map[string]int64{"data": 8 << 20, "a hole": 32 * maxHole} {
			t.Run(kind+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				f, err := os.Create(filepath.Join(dir, "big"))
				treetest.Check(t, err)
				defer f.Close()
				if kind == "data" {
					_, err = f.Write(make([]byte, size))
					treetest.Check(t, err)
				}
				treetest.Check(t, f.Truncate(size))
				goroutines, files := runtime.NumGoroutine(), treetest.OpenFiles(t)
				_, err = Read(context.Background(), dir,
					Options{Tar: &hookWriter{func() { treetest.Check(t, f.Truncate(size+change)) }}})
				if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), `"big"`) {
					t.Errorf("error %v", err)
				}
				treetest.NothingLeft(t, goroutines, files)
			})
		}
	}
}

// TestReadChunkBoundaries has files of every awkward size around the pieces that the stream is handled in.
func TestReadChunkBoundaries(t *testing.T) {
	dir := t.TempDir()
	for _, base := range []int{0, blockSize, chunkSize - blockSize, chunkSize, chunkSize + blockSize, contentPiece,
		3 * chunkSize} {
		for d := -2; d <= 2; d++ {
			if base+d >= 0 {
				data := bytes.Repeat([]byte{byte(base), byte(d), 3}, (base+d)/3+1)[:base+d]
				treetest.Check(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%07d", base+d)), data, 0o600))
			}
		}
	}
	_, stream := layerOf(t, dir, Options{})
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		treetest.Check(t, err)
		data, err := io.ReadAll(r)
		treetest.Check(t, err)
		want, err := os.ReadFile(filepath.Join(dir, h.Name))
		treetest.Check(t, err)
		if !bytes.Equal(data, want) {
			t.Errorf("%s differs", h.Name)
		}
	}
}

const deepLevels = 1200

// makeDeep makes a chain of directories whose path is longer than PATH_MAX, with a file at its end.
func makeDeep(t testing.TB, dir string) {
	t.Helper()
	d, err := tree.Open(dir)
	treetest.Check(t, err)
	defer d.Close()
	var st unix.Stat_t
	for range deepLevels {
		treetest.Check(t, unix.Mkdirat(d.FD(), "deep-down", 0o755))
		treetest.Check(t, d.Push("deep-down", &st))
	}
	fd, err := unix.Openat(d.FD(), "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	treetest.Check(t, err)
	_, err = unix.Write(fd, []byte("found"))
	treetest.Check(t, errors.Join(err, unix.Close(fd)))
}

func TestPathsLongerThanTheSystemTakes(t *testing.T) {
	base := t.TempDir()
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	treetest.Check(t, os.Mkdir(src, 0o755))
	treetest.Check(t, os.Mkdir(dst, 0o755))
	makeDeep(t, src)
	var stream bytes.Buffer
	goroutines, files := runtime.NumGoroutine(), treetest.OpenFiles(t)
	res, err := Read(context.Background(), src, Options{Tar: &stream, TarSplit: io.Discard})
	treetest.Check(t, err)
	treetest.NothingLeft(t, goroutines, files)
	var last string
	for r := tar.NewReader(&stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		treetest.Check(t, err)
		last = h.Name
	}
	if want := strings.Repeat("deep-down/", deepLevels) + "file"; last != want {
		t.Errorf("last name has %d bytes, want %d", len(last), len(want))
	}
	treetest.Check(t, merge.Layers(context.Background(), dst, []string{src}, "user.overlay."))
	treetest.NothingLeft(t, goroutines, files)
	merged, err := Read(context.Background(), dst, Options{})
	treetest.Check(t, err)
	if merged.DiffID != res.DiffID {
		t.Error("the merged layer differs")
	}
	changes, err := ReadChanges(context.Background(), src, []string{last}, nil, Options{})
	treetest.Check(t, err)
	if changes.DiffID != res.DiffID {
		t.Error("the layer of changes differs")
	}
}

func TestReadManyNamesInOneDirectory(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 3000 {
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("n", i%200))
		treetest.Check(t, os.Symlink("x", filepath.Join(dir, name)))
		want = append(want, name)
	}
	slices.Sort(want)
	_, stream := layerOf(t, dir, Options{})
	var got []string
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		treetest.Check(t, err)
		got = append(got, h.Name)
	}
	treetest.DiffLines(t, got, want)
}

// TestContentIgnoresTimesOnly changes one thing after the other and expects a new content digest each time, but for
// times.
func TestContentIgnoresTimesOnly(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	treetest.Make(t, dir, []treetest.Node{
		{Path: "dir", Type: typeDir, Mode: 0o755},
		{Path: "file", Type: typeReg, Mode: 0o644, Data: "12345678"},
		{Path: "link", Type: typeSymlink, Link: "to"},
		{Path: "other", Type: typeReg, Mode: 0o644, Data: "12345678"},
	})
	first, _ := layerOf(t, dir, Options{})
	seen := map[string]string{string(first.Content): "before"}
	for _, name := range []string{"dir", "file", "link"} {
		treetest.Check(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{{Sec: 77}, {Sec: 77}},
			unix.AT_SYMLINK_NOFOLLOW))
		res, _ := layerOf(t, dir, Options{})
		if res.Content != first.Content || res.DiffID == first.DiffID {
			t.Errorf("time of %s: %+v, before %+v", name, res, first)
		}
	}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"mode of file", func() error { return os.Chmod(at("file"), 0o600) }},
		{"set-ID bit", func() error { return unix.Chmod(at("file"), 0o4600) }},
		{"mode of directory", func() error { return os.Chmod(at("dir"), 0o700) }},
		{"owner", func() error { return os.Lchown(at("link"), 5, 0) }},
		{"group", func() error { return os.Lchown(at("link"), 0, 5) }},
		{"same size, other data", func() error { return os.WriteFile(at("file"), []byte("12345679"), 0) }},
		{"one byte more", func() error { return os.WriteFile(at("file"), []byte("123456790"), 0) }},
		{"xattr", func() error { return unix.Setxattr(at("dir"), "user.a", []byte("1"), 0) }},
		{"xattr value", func() error { return unix.Setxattr(at("dir"), "user.a", []byte("2"), 0) }},
		{"xattr name", func() error {
			return errors.Join(unix.Removexattr(at("dir"), "user.a"), unix.Setxattr(at("dir"), "user.b", []byte("2"), 0))
		}},
		{"opaque", func() error { return unix.Setxattr(at("dir"), treetest.OpaqueMark(), []byte("y"), 0) }},
		{"link target", func() error { return errors.Join(os.Remove(at("link")), os.Symlink("tp", at("link"))) }},
		{"hard link instead of copy",
			func() error { return errors.Join(os.Remove(at("other")), os.Link(at("file"), at("other"))) }},
		{"name", func() error { return os.Rename(at("other"), at("other2")) }},
		{"removed", func() error { return os.Remove(at("other2")) }},
		{"whiteout", func() error { return unix.Mknod(at("other"), unix.S_IFCHR, 0) }},
		{"device", func() error { return unix.Mknod(at("dev"), unix.S_IFBLK, int(unix.Mkdev(1, 2))) }},
		{"device number", func() error {
			return errors.Join(os.Remove(at("dev")), unix.Mknod(at("dev"), unix.S_IFBLK, int(unix.Mkdev(1, 3))))
		}},
		{"device type", func() error {
			return errors.Join(os.Remove(at("dev")), unix.Mknod(at("dev"), unix.S_IFCHR, int(unix.Mkdev(1, 3))))
		}},
		{"device gone", func() error { return errors.Join(os.Remove(at("dev")), unix.Mkfifo(at("dev"), 0o600)) }},
	} {
		if strings.HasPrefix(c.what, "device") && !asroot.Real() {
			continue // only the machine's root can make one
		}
		treetest.Check(t, c.do())
		res, _ := layerOf(t, dir, Options{})
		if before, ok := seen[string(res.Content)]; ok {
			t.Errorf("%s: same content as %s", c.what, before)
		}
		seen[string(res.Content)] = c.what
	}
}

func TestContentOfDataThatLooksLikeAnEntry(t *testing.T) {
	// What one file holds is what the other tree has as a second entry.
	e := entry{name: []byte("b"), typ: typeReg, mode: 0o600, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	one, two := t.TempDir(), t.TempDir()
	treetest.Check(t, os.WriteFile(filepath.Join(one, "a"), appendCanonical(nil, &e), 0o600))
	treetest.Check(t, os.WriteFile(filepath.Join(two, "a"), nil, 0o600))
	treetest.Check(t, os.WriteFile(filepath.Join(two, "b"), nil, 0o600))
	r1, _ := layerOf(t, one, Options{})
	r2, _ := layerOf(t, two, Options{})
	if r1.Content == r2.Content {
		t.Error("two different layers have one content digest")
	}
	if r1.DiffID == r2.DiffID {
		t.Error("two different layers have one diffID")
	}
}
