package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"

	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// ReadOptions say how a snapshot's digests are made.
type ReadOptions struct {
	Context context.Context //nolint:containedctx // it is the argument of one call, not kept
	// Clamp limits modification times (SOURCE_DATE_EPOCH); nil: none.
	Clamp *time.Time
	// ParentRoot are the attributes of the root directory below.
	ParentRoot *layer.RootAttr
	// LargeFile is as in layer.Options.
	LargeFile func(name string, sum [32]byte)
	// Progress and Sparse are as in layer.Options.
	Progress func(bytes int64)
	Sparse   func(name string, size, disk int64)
}

// apply gives what the caller asks for to the options of a read.
func (o ReadOptions) apply(to layer.Options) layer.Options {
	to.Clamp, to.ParentRoot, to.LargeFile = o.Clamp, o.ParentRoot, o.LargeFile
	to.Progress, to.Sparse = o.Progress, o.Sparse
	return to
}

// mounted is the portable snapshot: a writable layer of any driver, mounted by the driver or shown by a view, whose
// changes are found by comparing it with its parent and written as an ordinary layer.
type mounted struct {
	store      *Store
	id, parent string
	dir        string
	tar        *os.File
	diffID     digest.Digest
	// view is shown in place of dir; nil: dir is.
	view *View
	// forget removes the note by which a later build finds this layer if this one is killed.
	forget func() error
	once   sync.Once
	err    error
}

func (s *Store) prepareMounted(ctx context.Context, parent string) (Snapshot, error) {
	id, err := randomID()
	if err != nil {
		return nil, err
	}
	forget, err := s.scratch.ForLayer(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("prepare a layer: %w", err)
	}
	m := &mounted{store: s, id: id, parent: parent, forget: forget}
	if _, err := s.store.CreateLayer(id, parent, nil, "", true,
		&storage.LayerOptions{IDMappingOptions: HostIDs()}); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare a layer: %w", err), forget())
	}
	if s.NeedsView(id) {
		return m, nil
	}
	if m.dir, err = s.store.Mount(m.id, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("mount a layer: %w", err), m.Remove())
	}
	return m, nil
}

// View mounts a layer to be read, through the driver. The caller calls the returned function when done.
func (s *Store) View(id string) (dir string, unmount func() error, err error) {
	if dir, err = s.store.Mount(id, ""); err != nil {
		return "", nil, fmt.Errorf("mount layer %s: %w", id, err)
	}
	return dir, func() error {
		if _, err := s.store.Unmount(id, false); err != nil {
			return fmt.Errorf("unmount layer %s: %w", id, err)
		}
		return nil
	}, nil
}

func (m *mounted) Dir() string {
	if m.view != nil {
		return m.view.path()
	}
	return m.dir
}

func (m *mounted) Work() string  { return "" }
func (m *mounted) Mounted() bool { return true }

func (m *mounted) Read(o ReadOptions) (layer.Result, error) {
	dir, options := m.Dir(), o.apply(layer.Options{OverlayXattr: m.store.OverlayXattr()})
	if m.view != nil && m.view.Owners != nil {
		options.ParentRoot, options.Owners = &m.view.root, m.view.Owners
	}
	changes, err := m.changes(o.Context, dir)
	if err != nil {
		return layer.Result{}, fmt.Errorf("compare layer with its parent: %w", err)
	}
	var changed, deleted []string
	for _, c := range changes {
		if c.Kind == archive.ChangeDelete {
			deleted = append(deleted, c.Path)
		} else {
			changed = append(changed, c.Path)
		}
	}
	slices.Sort(changed)
	slices.Sort(deleted)
	if m.tar, err = m.store.scratch.File(); err != nil {
		return layer.Result{}, fmt.Errorf("read layer: %w", err)
	}
	options.Tar = m.tar
	res, err := layer.ReadChanges(o.Context, dir, changed, deleted, options)
	m.diffID = res.DiffID
	return res, err
}

// changes compares the whole directory with its parent's. The driver's own comparison can't be trusted: what
// fuse-overlayfs notes for a directory that was removed and made again is read by no library.
func (m *mounted) changes(ctx context.Context, dir string) (changes []archive.Change, err error) {
	below, release, err := m.below(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	none := &idtools.IDMappings{}
	return archive.ChangesDirs(dir, none, below, none)
}

func (m *mounted) Commit(ctx context.Context, parent string) (Layer, error) {
	if m.tar == nil {
		return Layer{}, errors.New("commit layer: its digests have not been made")
	}
	if _, err := m.tar.Seek(0, io.SeekStart); err != nil {
		return Layer{}, errors.Join(fmt.Errorf("commit layer: %w", err), m.Remove())
	}
	l, err := m.store.putLayer(ctx, parent, m.diffID, m.tar, m.rootAttr)
	return l, errors.Join(err, m.Remove())
}

// giveRoot gives the lowest layer the root directory's attributes, which an archive without an entry for the root
// leaves to the driver. The layers above take them from there.
func (s *Store) giveRoot(id string, attr layer.RootAttr) error {
	find, unmount := s.View, func() error { return nil }
	if s.NeedsView(id) {
		find = func(id string) (string, func() error, error) {
			dir, err := s.DiffDir(id)
			return dir, unmount, err
		}
	}
	dir, unmount, err := find(id)
	if err == nil {
		err = errors.Join(layer.SetRootAttr(dir, attr), unmount())
	}
	if err != nil {
		return fmt.Errorf("commit layer: %w", err)
	}
	return nil
}

func (m *mounted) Remove() error {
	m.once.Do(func() {
		var errs []error
		if m.tar != nil {
			errs = append(errs, m.tar.Close())
		}
		errs = append(errs, m.unmountView())
		if m.dir != "" {
			_, err := m.store.store.Unmount(m.id, true)
			errs = append(errs, err)
		}
		errs = append(errs, m.store.store.DeleteLayer(m.id), m.forget())
		if err := errors.Join(errs...); err != nil {
			m.err = fmt.Errorf("remove layer: %w", err)
		}
	})
	return m.err
}

func randomID() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make a layer ID: %w", err)
	}
	return hex.EncodeToString(b), nil
}
