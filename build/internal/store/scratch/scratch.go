package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	tempDir    = "tmp"
	makingLock = "making.lock"
	dirLock    = "lock"
	// LayerNote is a file in a temporary directory that holds the ID of a layer, which a sweep removes with the directory.
	LayerNote = "layer"
	// Gone is what is moved into a temporary directory to be removed there.
	Gone = "gone"
)

// Place is where the temporary directories are, in cooper's own directory of a store.
func Place(own string) string { return filepath.Join(own, tempDir) }

// Room makes temporary directories and files. It is safe for concurrent use, by several processes too.
type Room struct {
	// own is the path of cooper's own directory in the store's directory.
	own string
}

// Open opens the Room in cooper's own directory of a store; it makes the directories that are missing.
func Open(own string) (*Room, error) {
	return &Room{own}, os.MkdirAll(filepath.Join(own, tempDir), 0o700)
}

func (r *Room) path() string { return Place(r.own) }

// Dir makes a directory that the next sweep removes if this process is killed. The caller calls the returned function
// when done with it.
func (r *Room) Dir(ctx context.Context) (dir string, remove func() error, err error) {
	making, err := r.lockMaking(ctx, flock.Shared)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, making.Close()) }()
	dir, err = os.MkdirTemp(r.path(), "")
	if err != nil {
		return "", nil, fmt.Errorf("make temporary directory: %w", err)
	}
	lock, err := flock.File(ctx, filepath.Join(dir, dirLock), flock.Exclusive)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("lock temporary directory: %w", err), os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(RemoveAll(dir), lock.Close()) }, nil
}

// Tree does what Dir does, and makes a directory of the given name in it that everybody may read, whatever the umask
// is: it is the root of a tree that steps see and that may become part of an image.
func (r *Room) Tree(ctx context.Context, name string) (dir string, remove func() error, err error) {
	temp, remove, err := r.Dir(ctx)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(temp, name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return "", nil, errors.Join(fmt.Errorf("make temporary directory: %w", err), remove())
	}
	return dir, remove, nil
}

// ForLayer makes a directory that names a layer which is being made where other tools see it: if this process is
// killed, a sweep removes the layer too. The caller calls done when the layer is made.
func (r *Room) ForLayer(ctx context.Context, id string) (done func() error, err error) {
	dir, remove, err := r.Dir(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, LayerNote), []byte(id), 0o600); err != nil {
		return nil, errors.Join(err, remove())
	}
	return remove, nil
}

// File makes a file without a name.
func (r *Room) File() (*os.File, error) { return FileIn(r.path()) }

// FileIn makes a file without a name in a directory; on a file system that can't do that it removes the name at once.
func FileIn(dir string) (*os.File, error) {
	fd, err := fsys.Retry(func() (int, error) {
		return unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	})
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "nameless")), nil
	}
	f, err := os.CreateTemp(dir, "nameless")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockMaking takes the lock that keeps sweeps (exclusive) apart from the moments between a directory's making and its
// locking (shared), in which it looks like one of a process that was killed.
func (r *Room) lockMaking(ctx context.Context, kind flock.Kind) (*os.File, error) {
	f, err := flock.File(ctx, filepath.Join(r.own, makingLock), kind)
	if err != nil {
		return nil, fmt.Errorf("lock temporary directories: %w", err)
	}
	return f, nil
}
