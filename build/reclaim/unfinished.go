package reclaim

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/fetch"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

// unfinished is the size in bytes of what running builds, of all processes, have written and not finished: what steps
// write, what is being fetched and unpacked. What can't be measured counts as far as it was.
func (k keepers) unfinished(ctx context.Context) (total int64) {
	own := k.store.Paths().Own
	for _, dir := range []string{scratch.Place(own), fetch.Unfinished(k.store.Paths().Remote())} {
		for _, temp := range entries(dir) {
			for _, path := range entries(temp) {
				switch filepath.Base(path) {
				case scratch.Gone: // it is being removed, and was counted as what it was
				case scratch.LayerNote: // the driver makes a layer
					if id, err := os.ReadFile(path); err == nil {
						total += k.removal.SizeOf(ctx, string(id))
					}
				default:
					total += sizeOf(ctx, path)
				}
			}
		}
	}
	return total + nameless(own)
}

// entries are the paths of what a directory holds; none if it can't be read.
func entries(dir string) (paths []string) {
	list, _ := os.ReadDir(dir) // it may have been removed
	for _, e := range list {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths
}

// sizeOf measures a file or a tree, as far as that is possible.
func sizeOf(ctx context.Context, path string) int64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return usage.Share(&st)
	}
	size, _ := usage.Measure(ctx, path)
	return size.Bytes
}

// nameless is the size in bytes of the files without a name that this process has open below a directory, such as
// layers that are being compressed or read.
func nameless(below string) (total int64) {
	if path, err := filepath.EvalSymlinks(below); err == nil {
		below = path
	}
	seen := map[uint64]bool{}
	for _, fd := range entries("/proc/self/fd") {
		name, err := os.Readlink(fd)
		var st unix.Stat_t
		if err != nil || !strings.HasPrefix(name, below+"/") || unix.Stat(fd, &st) != nil || st.Nlink != 0 ||
			st.Mode&unix.S_IFMT != unix.S_IFREG || seen[st.Ino] {
			continue
		}
		seen[st.Ino] = true
		const block = 512
		total += st.Blocks * block
	}
	return total
}

// freeOn is how many bytes are free on the file system of a directory; the most there can be if nobody knows.
func freeOn(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Bsize <= 0 || fs.Bfree > math.MaxInt64/uint64(fs.Bsize) {
		return math.MaxInt64
	}
	return int64(fs.Bfree) * fs.Bsize
}
