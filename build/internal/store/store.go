package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/reexec"
	"go.podman.io/storage/pkg/unshare"

	"github.com/cooperbuild/cooper/build/internal/store/durable"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
)

// ErrNoLayer means that the store has no such layer.
var ErrNoLayer = errors.New("no such layer in the store")

// ownDir is the name of cooper's own directory in the store's directory.
const ownDir = "cooper"

// overlayDriver is the name of the driver that stacks directories, and of the driver's directory in the store's
// directory.
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
	// Tell is called with messages for the user about the store, such as the damage of a crash. It may be nil.
	Tell func(text string)
}

// Store is an opened containers/storage with cooper's own records beside it.
type Store struct {
	library *library.Library
	driver  drivers.Driver
	paths   Paths
	parts   Parts
	// byFD is the open directory by which the library knows the store if it can't use the path, see withPlainRoot; else
	// nil.
	byFD *os.File
}

// Parts are what a store is put together from.
type Parts struct {
	// Library keeps layers and images; only packages below this one can use it.
	Library library.Handle
	// Scratch makes temporary directories and files.
	Scratch *scratch.Room
	// Uses is the ledger of what is used, and of what is being removed.
	Uses *uses.Ledger
	// Durable is the record of which layers are surely on disk.
	Durable *durable.Record
	// Aside are the paths to which lists of the library were moved that could not be read when the store was opened.
	Aside []string
}

// HandleReexec runs the helper of containers/storage if the library has started this process as one, and tells whether
// it did. main must call it first.
func HandleReexec() bool {
	tellNamespace()
	return reexec.Init()
}

// tellNamespace tells the library, by an environment variable, that this process is not the machine's root although it
// has all IDs: the library looks only at the IDs. Otherwise the library would let overlay mark deletions by attributes
// that only the machine's root can set, and deleted files would be back in the layer.
func tellNamespace() {
	if os.Geteuid() != 0 || os.Getenv(unshare.UsernsEnvName) != "" {
		return
	}
	if m, err := userns.CurrentMapping(); err == nil && !userns.InInitial(m) {
		_ = os.Setenv(unshare.UsernsEnvName, "done") // can't fail: the name has neither "=" nor a zero byte
	}
}

// Open opens the store, making it if it doesn't exist. It removes the files that killed builds left behind. It doesn't
// repair the damage of a crash of the machine; package depot, which opens stores for builds, calls package mend for
// that.
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

	s := &Store{library: st, byFD: byFD, parts: Parts{Library: st.Handle(), Aside: aside}}
	if s.driver, err = st.GraphDriver(); err != nil {
		return nil, openError(opts, err)
	}

	s.paths = Paths{Root: opts.GraphRoot, Own: filepath.Join(st.GraphRoot(), ownDir)}
	if s.parts.Scratch, err = scratch.Open(s.paths.Own); err != nil {
		return nil, openError(opts, err)
	}

	s.parts.Uses = uses.New(s.paths.Own)
	if s.parts.Durable, err = durable.Open(st); err != nil {
		return nil, openError(opts, err)
	}
	if err := s.inheritNothing(); err != nil {
		return nil, openError(opts, err)
	}

	options := slices.Concat(opts.GraphDriverOptions, st.GraphOptions())
	st.Examine(library.Settings{Own: s.paths.Own, Options: options, Portable: o.Portable,
		Trusted: !unshare.IsRootless(), Volatile: !opts.DisableVolatile})
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
		// Otherwise the library would mount the driver's directory over itself, and real root's mount would outlive the
		// build.
		opts.GraphDriverOptions = append(opts.GraphDriverOptions, "overlay.skip_mount_home=true")
	}
}

// usualDriver gives the driver for a store without a configured one: overlay, or vfs if another tool has filled the
// store with that, as older versions of podman do by default. It gives "" for a store of btrfs. The library would
// refuse to choose in a store that holds both overlay and vfs.
func usualDriver(root string) string {
	has := func(driver string) bool {
		_, err := os.Lstat(filepath.Join(root, driver+"-layers", "layers.json"))
		return err == nil
	}
	if has("vfs") && !has(overlayDriver) {
		return "vfs"
	}
	if _, err := os.Lstat(filepath.Join(root, "btrfs-layers")); err == nil {
		return "" // the library finds the driver and says that it can't use it
	}
	return overlayDriver
}

// Close closes the store. This process's mount of the driver's directory ends with the mount namespace.
func (s *Store) Close() error {
	s.library.Free()
	return errors.Join(s.parts.Durable.Close(), closeFile(s.byFD))
}

// Parts are what the store is put together from, for those who work on it.
func (s *Store) Parts() Parts { return s.parts }

// Paths are where the store's files are.
func (s *Store) Paths() Paths { return s.paths }

// Driver is the name of the storage driver.
func (s *Store) Driver() string { return s.library.GraphDriverName() }

// unfinishedAfter is the age from which on a file that was to replace another one counts as a killed process's.
const unfinishedAfter = time.Hour

// removeStale removes staged and temporary directories and files of processes that have ended.
func (s *Store) removeStale(ctx context.Context) error {
	return errors.Join(
		scratch.SweepStaging(ctx, filepath.Join(s.library.GraphRoot(), overlayDriver, "staging")),
		s.parts.Scratch.Sweep(ctx, s.removeAbandoned),
		fsys.RemoveUnfinished(s.paths.Own, unfinishedAfter),
	)
}

// removeAbandoned removes a layer whose making was cut short because its process ended.
func (s *Store) removeAbandoned(id string) error {
	if _, err := s.library.Layer(id); err != nil {
		return nil //nolint:nilerr // the layer doesn't exist
	}
	if _, err := s.library.Unmount(id, true); err != nil && !Unknown(err) {
		return fmt.Errorf("unmount layer %s: %w", id, err)
	}
	return s.RemoveLayer(id)
}

// RunRoot is the directory of the store's run-time state.
func (s *Store) RunRoot() string { return s.library.RunRoot() }
