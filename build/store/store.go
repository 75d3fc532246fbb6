package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/reexec"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/store/internal/library"
)

// Errors that callers tell apart.
var (
	// ErrNoImage says that no image of the store has the name.
	ErrNoImage = errors.New("no such image in the store")
	// ErrNoLayer says that the store has no such layer.
	ErrNoLayer = errors.New("no such layer in the store")
)

// ownDir is the name of cooper's own directory in the store's.
const ownDir = "cooper"

// overlayDriver is the name of the driver that stacks directories, and that of its own directory in the store's.
const overlayDriver = "overlay"

// Options say which store to open. The zero value is the user's own store as storage.conf and the environment give it.
type Options struct {
	// Root holds the images and layers, RunRoot the short-lived state.
	Root, RunRoot string
	// Driver is a containers/storage driver name, such as overlay or vfs, and DriverOptions its options.
	Driver        string
	DriverOptions []string
	// Portable forces the commit path that works with every driver.
	Portable bool
	// Tell is given what a user should know of the store, such as what a crash has cost; nil: nobody is told.
	Tell func(text string)
}

// Store is an opened containers/storage with cooper's own records beside it.
type Store struct {
	store    *library.Library
	driver   drivers.Driver
	staging  bool
	program  Program
	dir      string
	trusted  bool
	volatile bool
	// began is when the build began that the store is open for; zero: none.
	began   time.Time
	durable durability
	// root is the store's directory as the caller has named it, and byFD what the library knows it by if it can't take
	// that; see withPlainRoot.
	root string
	byFD *os.File
	// aside are the library's lists that could not be read when the store was opened, as they are called now.
	aside []string
	tell  func(text string)
	// shortNames reads what registries.conf says of them, once and only if a name asks for it.
	shortNames func() (*registry.ShortNames, error)
}

// HandleReexec runs the helper that containers/storage starts this binary for, if this process is one. It must be
// called before anything else and tells whether it was.
func HandleReexec() bool { return reexec.Init() }

// Open opens the store, making it if it doesn't exist. What killed builds left behind is removed, and so is what a
// crash of the machine has cost: see mend.
func Open(ctx context.Context, o Options) (*Store, error) {
	opts, err := defaults(o)
	if err != nil {
		return nil, err
	}
	aside, err := repair(opts.GraphRoot)
	if err != nil {
		return nil, openError(opts, err)
	}
	named, byFD, err := withPlainRoot(opts)
	if err != nil {
		return nil, openError(opts, err)
	}
	st, err := library.Open(named)
	if err != nil {
		return nil, errors.Join(openError(opts, err), closeFile(byFD))
	}
	s := &Store{store: st, root: opts.GraphRoot, byFD: byFD, aside: aside, tell: o.Tell, trusted: !unshare.IsRootless(),
		volatile: !opts.DisableVolatile, shortNames: sync.OnceValues(registry.LoadShortNames)}
	if s.driver, err = st.GraphDriver(); err != nil {
		return nil, openError(opts, err)
	}
	s.dir = filepath.Join(st.GraphRoot(), ownDir)
	if err := os.MkdirAll(filepath.Join(s.dir, "tmp"), 0o700); err != nil {
		return nil, openError(opts, err)
	}
	if s.durable, err = openDurability(st.GraphRoot()); err != nil {
		return nil, openError(opts, err)
	}
	if err := s.inheritNothing(); err != nil {
		return nil, openError(opts, err)
	}
	options := slices.Concat(opts.GraphDriverOptions, st.GraphOptions())
	s.program = s.findProgram(options)
	s.staging = !o.Portable && s.canStage(options)
	if err := s.removeStale(); err != nil {
		return nil, fmt.Errorf("remove what an earlier build left: %w", s.Unusable(err))
	}
	if err := s.mend(ctx); err != nil {
		return nil, errors.Join(s.Unusable(err), s.Close())
	}
	if err := s.tellOfOther(ctx, o); err != nil {
		return nil, errors.Join(s.Unusable(err), s.Close())
	}
	return s, nil
}

func applyOptions(opts *storage.StoreOptions, o Options) {
	if o.Root != "" {
		opts.GraphRoot = o.Root
		if o.RunRoot == "" {
			opts.RunRoot = filepath.Join(o.Root, "run")
		}
	}
	if o.RunRoot != "" {
		opts.RunRoot = o.RunRoot
	}
	if o.Driver != "" && o.Driver != opts.GraphDriverName {
		opts.GraphDriverName = o.Driver
		opts.GraphDriverOptions = nil
	}
	if len(o.DriverOptions) > 0 {
		opts.GraphDriverOptions = o.DriverOptions
	}
	if opts.GraphDriverName == "" && len(opts.GraphDriverPriority) == 0 {
		opts.GraphDriverName = usualDriver(opts.GraphRoot)
	}
	if opts.GraphDriverName == overlayDriver {
		// The library would mount the driver's directory over itself, and real root's mount would outlive the build.
		opts.GraphDriverOptions = append(opts.GraphDriverOptions, "overlay.skip_mount_home=true")
	}
}

// usualDriver is the driver for a store that nothing is configured for: overlay, unless another tool has filled the
// store with vfs. Older podmen do so without being told to; a store that holds both is refused by the library if it has
// to guess.
func usualDriver(root string) string {
	has := func(driver string) bool {
		_, err := os.Lstat(filepath.Join(root, driver+"-layers", "layers.json"))
		return err == nil
	}
	if has("vfs") && !has(overlayDriver) {
		return "vfs"
	}
	if _, err := os.Lstat(filepath.Join(root, "btrfs-layers")); err == nil {
		return "" // not ours to choose
	}
	return overlayDriver
}

// canStage tells whether a step's directory can become a layer by a rename: only with the kernel's own overlay.
func (s *Store) canStage(options []string) bool {
	if !s.Stacks() || s.store.ImageStore() != "" || s.program.Path != "" {
		return false
	}
	_, masked := driverOption(options, "force_mask")
	composefs, _ := driverOption(options, "use_composefs")
	_, ok := s.driver.(drivers.DriverWithDiffer)
	return ok && !masked && composefs != "true" &&
		s.store.JoinMounts(s.dir, filepath.Join(s.store.GraphRoot(), overlayDriver), s.trusted)
}

// Beneath gives an open directory of a layer as one of the mount that the store's own directory is in, and closes the
// given one: nothing that is mounted over the driver's directory is in its way then. Where that can't be done it gives
// it back.
func (s *Store) Beneath(dir *os.File) *os.File {
	if !s.trusted {
		return dir
	}
	return library.Beneath(s.dir, dir)
}

// Close gives the store back. The process's own mount of the driver's directory goes with the mount namespace.
func (s *Store) Close() error {
	s.store.Free()
	return errors.Join(s.durable.dir.Close(), closeFile(s.byFD))
}

// Dir is where cooper keeps its own records, on the store's file system.
func (s *Store) Dir() string { return s.dir }

// Root is the store's directory.
func (s *Store) Root() string { return s.root }

// Driver is the name of the storage driver.
func (s *Store) Driver() string { return s.store.GraphDriverName() }

// Stages tells whether layers are committed by renaming the directory a step wrote to.
func (s *Store) Stages() bool { return s.staging }

// OverlayXattr is the prefix of overlay's own extended attributes in this store's layers.
func (s *Store) OverlayXattr() string {
	if s.trusted {
		return "trusted.overlay."
	}
	return "user.overlay."
}

// Volatile tells whether a step's file system may drop its own syncs, which a later commit makes good.
func (s *Store) Volatile() bool { return s.volatile }

// staleAfter is how old a directory without a lock must be to be one whose process has ended while it made or removed
// it. Other tools that stage in the same store lock a directory as soon as they have made it.
const staleAfter = 200 * time.Millisecond

// removeStale deletes staged and temporary directories whose owner is gone. It must run before this process stages
// anything: closing a lock file drops the process's own POSIX lock on it.
func (s *Store) removeStale() error {
	unlock, err := s.lockMaking(unix.LOCK_EX)
	if err != nil {
		return err
	}
	// Earlier versions staged where the driver does.
	staging := filepath.Join(s.store.GraphRoot(), overlayDriver, "staging")
	return errors.Join(
		removeUnlocked(staging, "staging.lock", removeAll),
		removeUnlocked(filepath.Join(s.dir, "tmp"), tempLock, s.removeTemp),
		s.removeShifted(),
		s.removeIDRanges(),
		s.removeDeadBuilds(),
		unlock(),
	)
}

// lockMaking keeps the look for stale directories (unix.LOCK_EX) apart from the moments between a directory's making
// and its locking (unix.LOCK_SH), in which it looks like one that a dead process left.
func (s *Store) lockMaking(how int) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "making.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock temporary directories: %w", err)
	}
	err = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), how)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock temporary directories: %w", err), f.Close())
	}
	return f.Close, nil
}

const (
	tempLock = "lock"
	// tempLayer in a temporary directory names a layer that goes with it.
	tempLayer = "layer"
)

func (s *Store) removeTemp(dir string) error {
	if id, err := os.ReadFile(filepath.Join(dir, tempLayer)); err == nil {
		if _, err := s.store.Layer(string(id)); err == nil {
			if _, err := s.store.Unmount(string(id), true); err != nil && !Unknown(err) {
				return fmt.Errorf("unmount layer %s: %w", id, err)
			}
			if err := s.RemoveLayer(string(id)); err != nil {
				return err
			}
		}
	}
	return removeAll(dir)
}

func removeUnlocked(base, lock string, remove func(dir string) error) error {
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(base, e.Name())
		f, err := openLock(dir, lock)
		switch {
		case errors.Is(err, os.ErrNotExist):
			errs = append(errs, removeLockless(dir, remove))
			continue
		case err != nil:
			continue // not ours to judge
		}
		free := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) == nil
		if free {
			errs = append(errs, remove(dir))
		}
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// openLock opens the lock of a directory, waiting for a while if a young one has none yet; os.ErrNotExist says that
// none came.
func openLock(dir, lock string) (f *os.File, err error) {
	const looks = 10
	for range looks {
		f, err = os.OpenFile(filepath.Join(dir, lock), os.O_RDWR, 0)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		info, statErr := os.Lstat(dir)
		if statErr != nil || time.Since(info.ModTime()) > staleAfter {
			return nil, err
		}
		time.Sleep(staleAfter / looks)
	}
	return nil, err
}

// removeLockless removes a directory that has no lock, if it is still there.
func removeLockless(dir string, remove func(dir string) error) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return remove(dir)
}

// TempDir makes a directory on the store's file system that is removed by the next build if this one is killed.
// The caller calls the returned function when done with it.
func (s *Store) TempDir(_ context.Context) (dir string, remove func() error, err error) {
	unlock, err := s.lockMaking(unix.LOCK_SH)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	dir, err = os.MkdirTemp(filepath.Join(s.dir, "tmp"), "")
	if err != nil {
		return "", nil, fmt.Errorf("make temporary directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, tempLock), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("lock temporary directory: %w", err), os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(removeAll(dir), f.Close()) }, nil
}

// TempTree is TempDir, with a directory of that name in it that everybody may read, whatever umask the caller has: the
// root of a tree that steps see, and that images may get.
func (s *Store) TempTree(ctx context.Context, name string) (dir string, remove func() error, err error) {
	temp, remove, err := s.TempDir(ctx)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(temp, name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return "", nil, errors.Join(fmt.Errorf("make temporary directory: %w", err), remove())
	}
	return dir, remove, nil
}
