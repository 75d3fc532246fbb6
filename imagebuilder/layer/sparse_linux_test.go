package layer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
	"github.com/cooperbuild/cooper/internal/tarsplit"
)

// makeSparse makes a file of the given size with a few bytes of data at offsets.
func makeSparse(t *testing.T, path string, size int64, dataAt ...int64) {
	t.Helper()
	f, err := os.Create(path)
	treetest.Check(t, err)
	for _, at := range dataAt {
		_, err := f.WriteAt([]byte("data"), at)
		treetest.Check(t, err)
	}
	// Until a file is on the disk the number of its blocks may change.
	treetest.Check(t, errors.Join(f.Truncate(size), f.Sync(), f.Close(),
		os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0))))
}

func TestHolesAreTheZerosThatTheyStandFor(t *testing.T) {
	const size = 3*maxHole + 12345
	for name, dataAt := range map[string][]int64{
		"none": nil, "first": {0}, "last": {size - 4}, "middle": {size / 2},
		"many": {0, 1 << 20, 5 << 20, 9<<20 + 1, 17 << 20, size - 4096},
	} {
		t.Run(name, func(t *testing.T) {
			sparse, dense := t.TempDir(), t.TempDir()
			makeSparse(t, filepath.Join(sparse, "file"), size, dataAt...)
			makeSparse(t, filepath.Join(sparse, "small"), leastHole+1)
			for _, f := range []string{"file", "small"} {
				data, err := os.ReadFile(filepath.Join(sparse, f))
				treetest.Check(t, err)
				treetest.Check(t, errors.Join(os.WriteFile(filepath.Join(dense, f), data, 0o644),
					os.Chmod(filepath.Join(sparse, f), 0o644),
					os.Chtimes(filepath.Join(dense, f), time.Unix(1, 0), time.Unix(1, 0))))
			}
			var st unix.Stat_t
			treetest.Check(t, unix.Stat(filepath.Join(sparse, "file"), &st))
			if st.Blocks*512 > size/2 {
				t.Fatalf("the file system has made no holes: %d blocks", st.Blocks)
			}
			var moved int64
			var sums [2][][32]byte
			of := func(i int) Options {
				return Options{LargeFile: func(_ string, sum [32]byte) { sums[i] = append(sums[i], sum) },
					Progress: func(n int64) { moved += n }}
			}
			want, stream := layerOf(t, dense, of(0)) // it compares the tar-split data with what the library makes, too
			moved = 0
			got, holes := layerOf(t, sparse, of(1))
			want.Disk, got.Disk = 0, 0
			if diff := cmp.Diff(want, got); diff != "" || !bytes.Equal(stream, holes) || sums[0] == nil ||
				!cmp.Equal(sums[0], sums[1]) {
				t.Errorf("the layer of holes differs (-want +got):\n%s", diff)
			}
			if moved != 2*got.Size { // layerOf reads twice
				t.Errorf("progress came to %d of twice %d bytes", moved, got.Size)
			}
		})
	}
}

func TestHugeHolesAreToldAndStopAtOnce(t *testing.T) {
	dir := t.TempDir()
	treetest.Check(t, os.Mkdir(filepath.Join(dir, "log"), 0o755))
	makeSparse(t, filepath.Join(dir, "log/lastlog"), 1<<40, 1<<39)
	makeSparse(t, filepath.Join(dir, "log/usual"), HugeHoles/2)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var told []string
	_, err := Read(ctx, dir, Options{
		Sparse: func(name string, size, disk int64) {
			if told = append(told, name); size != 1<<40 || disk > 1<<20 {
				t.Errorf("%s has %d bytes, %d on disk", name, size, disk)
			}
		},
		Progress: func(int64) { cancel(enough) },
	})
	if !errors.Is(err, enough) || !cmp.Equal(told, []string{"log/lastlog"}) {
		t.Errorf("%v, and told of %q", err, told)
	}
}

func TestCRCOfZeros(t *testing.T) {
	data := []byte("some bytes")
	for _, n := range []int64{0, 1, 7, 8, 9, 1000, 1<<20 + 3} {
		crc := tarsplit.CRC(0, data)
		if got, want := tarsplit.Zeros(crc, n), tarsplit.CRC(crc, make([]byte, n)); got != want {
			t.Errorf("%d zeros: %#x, not %#x", n, got, want)
		}
	}
}
