package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/reexec"
	"go.podman.io/storage/pkg/unshare"

	"github.com/cooperbuild/cooper/build/store/durable"
	"github.com/cooperbuild/cooper/build/store/internal/library"
	"github.com/cooperbuild/cooper/build/store/scratch"
	"github.com/cooperbuild/cooper/build/store/uses"
	"github.com/cooperbuild/cooper/userns"
)

// ErrNoLayer says that the store has no such layer.
var ErrNoLayer = errors.New("no such layer in the store")

// ownDir is the name of cooper's own directory in the store's.
const ownDir = "cooper"

// overlayDriver is the name of the driver that stacks directories, and that of its own directory in the store's.
const overlayDriver = library.Overlay

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
	store   *library.Library
	driver  drivers.Driver
	dir     string
	trusted bool
	scratch *scratch.Room
	uses    *uses.Ledger
	durable *durable.Record
	// root is the store's directory as the caller has named it, and byFD what the library knows it by if it can't take
	// that; see withPlainRoot.
	root string
	byFD *os.File
	// aside are the library's lists that could not be read when the store was opened, as they are called now.
	aside []string
}

// HandleReexec runs the helper that containers/storage starts this binary for, if this process is one. It must be
// called before anything else and tells whether it was.
func HandleReexec() bool {
	tellNamespace()
	return reexec.Init()
}

// tellNamespace tells the library, in the only way there is and before it first asks, that a root with all IDs is not
// the machine's: it looks at the IDs alone. It would have overlay mark what is deleted by attributes that such a root
// can't set, and what was removed from a layer would be there again.
func tellNamespace() {
	if os.Geteuid() != 0 || os.Getenv(unshare.UsernsEnvName) != "" {
		return
	}
	if m, err := userns.CurrentMapping(); err == nil && !userns.InInitial(m) {
		_ = os.Setenv(unshare.UsernsEnvName, "done") // it has neither "=" nor a zero byte
	}
}

// Open opens the store, making it if it doesn't exist. What killed builds left behind is removed. What a crash of the
// machine has cost is left to the room mend, which whoever opens the store has look first: see depot.
func Open(ctx context.Context, o Options) (*Store, error) {
	opts, err := defaults(o)
	if err != nil {
		return nil, err
	}
	aside, err := durable.Repair(opts.GraphRoot)
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
	s := &Store{store: st, root: opts.GraphRoot, byFD: byFD, aside: aside, trusted: !unshare.IsRootless()}
	if s.driver, err = st.GraphDriver(); err != nil {
		return nil, openError(opts, err)
	}
	s.dir = filepath.Join(st.GraphRoot(), ownDir)
	if s.scratch, err = scratch.Open(s.dir); err != nil {
		return nil, openError(opts, err)
	}
	s.uses = uses.New(s.dir)
	if s.durable, err = durable.Open(st); err != nil {
		return nil, openError(opts, err)
	}
	if err := s.inheritNothing(); err != nil {
		return nil, openError(opts, err)
	}
	options := slices.Concat(opts.GraphDriverOptions, st.GraphOptions())
	st.Examine(library.Settings{Own: s.dir, Options: options, Portable: o.Portable, Trusted: s.trusted,
		Volatile: !opts.DisableVolatile})
	if err := s.removeStale(ctx); err != nil {
		return nil, fmt.Errorf("remove what an earlier build left: %w", s.Unusable(err))
	}
	return s, nil
}

// Apply gives a caller's options precedence over those of storage.conf and the environment.
func Apply(opts *storage.StoreOptions, o Options) {
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
	return errors.Join(s.durable.Close(), closeFile(s.byFD))
}

// Library is what keeps the layers and images, for the rooms of the store.
func (s *Store) Library() *library.Library { return s.store }

// Durable knows what is on the disk.
func (s *Store) Durable() *durable.Record { return s.durable }

// Scratch is where temporary directories are made.
func (s *Store) Scratch() *scratch.Room { return s.scratch }

// Aside are the library's lists that could not be read when the store was opened, as they are called now.
func (s *Store) Aside() []string { return s.aside }

// Trusted tells whether overlay's marks in the layers are those that only the machine's root can set.
func (s *Store) Trusted() bool { return s.trusted }

// Dir is where cooper keeps its own records, on the store's file system.
func (s *Store) Dir() string { return s.dir }

// Root is the store's directory.
func (s *Store) Root() string { return s.root }

// Driver is the name of the storage driver.
func (s *Store) Driver() string { return s.store.GraphDriverName() }

// removeStale deletes staged and temporary directories whose owner is gone, and what is kept for layers and builds that
// are.
func (s *Store) removeStale(ctx context.Context) error {
	return errors.Join(
		scratch.SweepStaging(ctx, filepath.Join(s.store.GraphRoot(), overlayDriver, "staging")),
		s.scratch.Sweep(ctx, s.removeAbandoned),
		s.removeShifted(ctx),
		s.removeIDRanges(ctx),
	)
}

// removeAbandoned removes a layer whose maker is gone.
func (s *Store) removeAbandoned(id string) error {
	if _, err := s.store.Layer(id); err != nil {
		return nil //nolint:nilerr // it was never made
	}
	if _, err := s.store.Unmount(id, true); err != nil && !Unknown(err) {
		return fmt.Errorf("unmount layer %s: %w", id, err)
	}
	return s.RemoveLayer(id)
}

// TempDir makes a directory on the store's file system that is removed by the next build if this one is killed.
// The caller calls the returned function when done with it.
func (s *Store) TempDir(ctx context.Context) (dir string, remove func() error, err error) {
	return s.scratch.Dir(ctx)
}

// TempTree is TempDir, with a directory of that name in it that everybody may read, whatever umask the caller has: the
// root of a tree that steps see, and that images may get.
func (s *Store) TempTree(ctx context.Context, name string) (dir string, remove func() error, err error) {
	return s.scratch.Tree(ctx, name)
}
