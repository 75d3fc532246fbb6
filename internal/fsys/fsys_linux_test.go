package fsys

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRetryRepeatsInterruptedCallsOnly(t *testing.T) {
	t.Parallel()
	for _, last := range []error{nil, unix.EIO, unix.EAGAIN} {
		calls := 0
		n, err := Retry(func() (int, error) {
			if calls++; calls < 3 {
				return -1, unix.EINTR
			}
			return 7, last
		})
		if calls != 3 || n != 7 || !errors.Is(err, last) {
			t.Errorf("%v: %d calls, %d, %v", last, calls, n, err)
		}
	}
}

func TestPathsAreOpenedBelowTheRoot(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	root := filepath.Join(top, "root")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(root, "etc"), 0o755),
		os.WriteFile(filepath.Join(top, "secret"), []byte("outside"), 0o600),
		os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("inside"), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(root, "absolute")),
		os.Symlink("../../../../secret", filepath.Join(root, "up")),
		os.Symlink("etc", filepath.Join(root, "dir")),
		os.Symlink("/proc/self/root", filepath.Join(root, "magic")),
	); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, want := range map[string]struct{ in, plain error }{
		"etc/passwd":       {nil, nil},
		"dir/passwd":       {nil, unix.ELOOP},
		"absolute":         {nil, unix.ELOOP},
		"up":               {unix.ENOENT, unix.ELOOP},
		"../secret":        {unix.ENOENT, unix.EXDEV},
		"etc/../../secret": {unix.ENOENT, unix.EXDEV},
		"magic/etc":        {unix.ENOENT, unix.ELOOP},
		"none":             {unix.ENOENT, unix.ENOENT},
	} {
		fd, err := OpenIn(int(dir.Fd()), name, unix.O_RDONLY)
		if !errors.Is(err, want.in) {
			t.Errorf("OpenIn %s: %v, want %v", name, err, want.in)
		}
		if err == nil {
			text := make([]byte, 100)
			if n, _ := unix.Read(fd, text); string(text[:n]) != "inside" {
				t.Errorf("OpenIn %s: %q", name, text[:n])
			}
			_ = unix.Close(fd)
		}
		if fd, err = OpenPlain(int(dir.Fd()), name, unix.O_RDONLY); !errors.Is(err, want.plain) {
			t.Errorf("OpenPlain %s: %v, want %v", name, err, want.plain)
		}
		if err == nil {
			_ = unix.Close(fd)
		}
	}
}

func TestAllNamesOfADirectoryAreListedWithTheirKinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := map[string]uint8{"a\nb": unix.DT_REG, "sub": unix.DT_DIR, "link": unix.DT_LNK}
	for i := range 2000 {
		want[fmt.Sprintf("file-%0100d", i)] = unix.DT_REG
	}
	for name, kind := range want {
		path := filepath.Join(dir, name)
		var err error
		switch kind {
		case unix.DT_DIR:
			err = os.Mkdir(path, 0o755)
		case unix.DT_LNK:
			err = os.Symlink("nowhere", path)
		default:
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := Dirents(int(f.Fd()), make([]byte, DirentBuffer))
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d names, want %d: %v", len(all), len(want), err)
	}
	for _, d := range all {
		if kind, ok := want[d.Name]; !ok || d.Type != kind && d.Type != unix.DT_UNKNOWN {
			t.Errorf("%q is of kind %d, want %d", d.Name, d.Type, kind)
		}
	}
}

func record(inode uint64, size uint16, name string) []byte {
	buf := make([]byte, direntName, 64)
	binary.NativeEndian.PutUint64(buf, inode)
	binary.NativeEndian.PutUint16(buf[direntLength:], size)
	return append(append(buf, name...), make([]byte, max(0, int(size)-direntName-len(name)))...)
}

func TestRecordsThatAreNotWholeEndAListing(t *testing.T) {
	t.Parallel()
	good := record(1, 24, "good")
	for name, test := range map[string]struct {
		buf  []byte
		want []string
	}{
		"whole": {slices.Concat(good, record(2, 24, "two")), []string{"good", "two"}},
		"dots and deleted": {slices.Concat(record(1, 24, "."), record(1, 24, ".."), record(0, 24, "gone"), good),
			[]string{"good"}},
		"no length":      {slices.Concat(good, record(1, 0, "x")), []string{"good"}},
		"short length":   {slices.Concat(good, record(1, 18, "x")), []string{"good"}},
		"beyond the end": {slices.Concat(good, record(1, 600, "x")[:40]), []string{"good"}},
		"cut":            {slices.Concat(good, good[:10]), []string{"good"}},
		"empty":          {nil, nil},
	} {
		var names []string
		for _, d := range parseDirents(test.buf, nil) {
			names = append(names, d.Name)
		}
		if !slices.Equal(names, test.want) {
			t.Errorf("%s: %q, want %q", name, names, test.want)
		}
	}
}

func FuzzParseDirents(f *testing.F) {
	f.Add(record(1, 24, "good"))
	f.Add(record(1, 0, ""))
	f.Fuzz(func(t *testing.T, buf []byte) {
		for _, d := range parseDirents(buf, nil) {
			if d.Name == "" || bytes.IndexByte([]byte(d.Name), 0) >= 0 {
				t.Errorf("name %q", d.Name)
			}
		}
	})
}

// sourceFile has data at some offsets and the given size.
func sourceFile(t *testing.T, size int64, dataAt ...int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "source"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	data := make([]byte, 3000)
	for i := range data {
		data[i] = byte(rand.Uint32()) | 1
	}
	for _, at := range dataAt {
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCopiesAreEqualAndKeepHoles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		size int64
		at   []int64
	}{
		"empty":              {0, nil},
		"small":              {3000, []int64{0}},
		"one buffer":         {copyBuffer, []int64{0, copyBuffer - 3000}},
		"only a hole":        {10 << 20, nil},
		"hole at the start":  {8 << 20, []int64{8<<20 - 3000}},
		"hole at the end":    {8 << 20, []int64{0, 1 << 20}},
		"holes all over":     {40 << 20, []int64{1, 5 << 20, 20<<20 + 17}},
		"data to the end":    {5<<20 + 3000, []int64{5 << 20}},
		"smaller than block": {1, nil},
	} {
		for _, way := range []string{"clone", "range", "plain"} {
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				src := sourceFile(t, test.size, test.at...)
				dst := sourceFile(t, 0)
				var st unix.Stat_t
				if err := unix.Fstat(int(src.Fd()), &st); err != nil {
					t.Fatal(err)
				}
				var told atomic.Int64
				c := Copier{Done: func(n int64) { told.Add(n) }}
				c.noClone.Store(way != "clone")
				c.noRange.Store(way == "plain")
				_, _ = src.Seek(0, 0)
				_, _ = dst.Seek(0, 0)
				n, err := c.Copy(t.Context(), int(dst.Fd()), int(src.Fd()), &st)
				if err != nil || n != test.size {
					t.Fatalf("%d bytes, %v", n, err)
				}
				want, _ := os.ReadFile(src.Name())
				if got, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("the copy differs (%d and %d bytes): %v", len(got), len(want), err)
				}
				var copied unix.Stat_t
				if err := unix.Fstat(int(dst.Fd()), &copied); err != nil || copied.Blocks > st.Blocks+64 {
					t.Errorf("%d blocks, the source has %d: %v", copied.Blocks, st.Blocks, err)
				}
				if told.Load() != test.size {
					t.Errorf("told of %d bytes, not %d", told.Load(), test.size)
				}
			})
		}
	}
}

func TestCopyEndsWithTheContext(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, size := range []int64{3000, 9 << 20} {
		src, dst := sourceFile(t, size, 0), sourceFile(t, 0)
		var st unix.Stat_t
		_ = unix.Fstat(int(src.Fd()), &st)
		c := Copier{}
		c.noClone.Store(true)
		if _, err := c.Copy(ctx, int(dst.Fd()), int(src.Fd()), &st); !errors.Is(err, why) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestCopyTellsOfAFileThatBecameShorter(t *testing.T) {
	t.Parallel()
	src, dst := sourceFile(t, 3000, 0), sourceFile(t, 0)
	var st unix.Stat_t
	_ = unix.Fstat(int(src.Fd()), &st)
	_ = src.Truncate(10)
	_, _ = src.Seek(0, 0)
	c := Copier{}
	if n, err := c.Copy(t.Context(), int(dst.Fd()), int(src.Fd()), &st); err != nil || n == st.Size {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestReplaceIsAllOrNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	if err := Replace(path, []byte("x"), ReplaceOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without directories: %v", err)
	}
	when := time.Unix(1000, 0)
	for _, text := range []string{"first", "second and longer", ""} {
		if err := Replace(path, []byte(text), ReplaceOptions{Sync: true, MakeDirs: true, Modified: when}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(when) || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "full"), nil, ReplaceOptions{}); err == nil {
		t.Error("a directory was replaced")
	}
	if names, _ := filepath.Glob(filepath.Join(dir, TempPrefix+"*")); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func TestLinksAreReadWhole(t *testing.T) {
	t.Parallel()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, size := range []int{1, 255, 256, 257, 4095} {
		target := string(bytes.Repeat([]byte("x"), size))
		name := fmt.Sprint(size)
		if err := unix.Symlinkat(target, int(dir.Fd()), name); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadLinkAt(int(dir.Fd()), name); err != nil || got != target {
			t.Errorf("%d: %d bytes, %v", size, len(got), err)
		}
	}
}

func TestOnlyRealDirectoriesAreSubdirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "a"), 0o700), os.Symlink("a", filepath.Join(dir, "link")),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"": 1, "link": 0, "none": 0, "file": 0} {
		if got, err := Subdirs(filepath.Join(dir, name)); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if err := RemoveFiles(filepath.Join(dir, "link"), filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]bool{"a": true, "link": false, "file": true} {
		if got := Exists(filepath.Join(dir, name)); got != want {
			t.Errorf("%s exists: %v", name, got)
		}
	}
}

func TestTheFirstLineOfASmallFileIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 2047, 2048, 2049, 10_000} {
		want := bytes.Repeat([]byte("x"), size)
		for _, rest := range []string{"", "\n", "\nmore\n"} {
			if err := os.WriteFile(path, append(bytes.Clone(want), rest...), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := ReadLine(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("of %d bytes and %q there are %d, %v", size, rest, len(got), err)
			}
		}
	}
	for _, other := range []string{filepath.Dir(path), path + "-none"} {
		if _, err := ReadLine(other); err == nil || !strings.Contains(err.Error(), other) {
			t.Errorf("%s: %v", other, err)
		}
	}
}
