package removal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// DIR/reserve has empty files. Removing them frees inodes on a disk that has none left, a few of which are needed to
// give disk space back.
const (
	reserveDir   = "reserve"
	reserveFiles = 32
)

// BeginBuild says that a build begins: nothing that is used from now on is removed until end is called or the process
// ends. It is called once, before the store is used for the build.
func (r *Room) BeginBuild(ctx context.Context) (end func() error, err error) {
	end, err = r.uses.Begin(ctx)
	if err == nil {
		r.keepReserve()
	}
	return end, err
}

// keepReserve makes the reserve, unless it is there. A disk without room for it gets none.
func (r *Room) keepReserve() {
	dir := filepath.Join(r.store.Paths().Own, reserveDir)
	if os.Mkdir(dir, 0o700) != nil {
		return // it is there
	}
	for i := range reserveFiles {
		if os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600) != nil {
			return
		}
	}
}

// UseReserve gives the reserve up. The next build makes it again; one that is making it just now goes without.
func (r *Room) UseReserve() error {
	dir := filepath.Join(r.store.Paths().Own, reserveDir)
	gone := dir + ".gone"
	err := os.RemoveAll(gone) // left by a process that was killed
	if err == nil {
		err = os.Rename(dir, gone)
	}
	if err == nil {
		err = os.RemoveAll(gone)
	}
	// Another process may be giving the reserve up at the same time.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
