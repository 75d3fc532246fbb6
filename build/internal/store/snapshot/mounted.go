package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// mounted is a writable layer of any driver, mounted by that or shown in another way, whose changes are found by
// comparing it with its parent and written as an ordinary layer.
type mounted struct {
	archived
	id, parent string
	below      Below
	// dir is where the driver has mounted the layer; "": nowhere.
	dir string
	// shown is the mount that shows the layer in place of dir; nil: dir shows it.
	shown *shown
	// root are the attributes that the root directory had before the step, as the image has them.
	root layer.RootAttr
	// forget removes the note by which a later build finds this layer if this one is killed.
	forget func() error
	once   sync.Once
	err    error
}

// prepareMounted makes a writable layer on top of what is below; show tells whether it is to be shown in another way
// than by the driver.
func (r *Room) prepareMounted(ctx context.Context, below Below) (*mounted, error) {
	parent, err := topOf(ctx, below)
	if err != nil {
		return nil, err
	}
	id, err := library.RandomID()
	if err != nil {
		return nil, err
	}
	forget, err := r.store.Parts().Scratch.ForLayer(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("prepare a layer: %w", err)
	}
	m := &mounted{archived: archived{room: r}, id: id, parent: parent, below: below, forget: forget}
	if _, err := r.lib.CreateLayer(id, parent, nil, "", true,
		&storage.LayerOptions{IDMappingOptions: store.HostIDs()}); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare a layer: %w", err), forget())
	}
	return m, nil
}

// mount has the driver mount it.
func (m *mounted) mount() (err error) {
	if m.dir, err = m.room.lib.Mount(m.id, ""); err != nil {
		return fmt.Errorf("mount a layer: %w", err)
	}
	return nil
}

// unmount takes away whatever shows it.
func (m *mounted) unmount() error {
	if m.shown != nil {
		err := m.shown.unmount()
		if m.shown = nil; err != nil {
			return fmt.Errorf("unmount layer: %w", err)
		}
	}
	if m.dir != "" {
		if _, err := m.room.lib.Unmount(m.id, true); err != nil {
			return fmt.Errorf("unmount layer: %w", err)
		}
		m.dir = ""
	}
	return nil
}

// inheritRoot finds what the root directory is; without a parent it is as that of an empty image.
func (m *mounted) inheritRoot() (err error) {
	if m.parent != "" {
		m.root, err = layer.ReadRootAttr(m.path())
		return err
	}
	m.root = plainRoot()
	return layer.SetRootAttr(m.path(), m.root)
}

func (m *mounted) path() string {
	if m.shown != nil {
		return m.shown.path()
	}
	return m.dir
}

func (m *mounted) Files() (dir, marks string) { return m.path(), m.room.lib.Layout.Marks }

func (m *mounted) Start(context.Context) (View, error) {
	dir, err := fsys.OpenDir(m.path())
	if err != nil {
		return View{}, err
	}
	return View{Dir: dir, Release: dir.Close}, nil
}

// run has the step run in what is shown.
func (m *mounted) run(run RunFunc) (keep bool, err error) {
	dir, err := fsys.OpenDir(m.path())
	if err != nil {
		return false, err
	}
	keep, err = run(executor.Rootfs{Dir: dir})
	closeErr := dir.Close()
	return keep && closeErr == nil, errors.Join(err, closeErr)
}

func (m *mounted) Pending() (*os.File, error) { return nil, nil } //nolint:nilnil // nothing is an answer

func (m *mounted) Read(ctx context.Context, o ReadOptions) (layer.Result, error) {
	options := o.options(layer.Options{OverlayXattr: m.room.lib.Layout.Marks, ParentRoot: &m.root})
	if m.shown != nil && m.shown.owners != nil {
		options.ParentRoot, options.Owners = &m.shown.root, m.shown.owners
	}

	dir := m.path()
	changes, err := m.changes(ctx, dir)
	if err != nil {
		return layer.Result{}, fmt.Errorf("compare layer with its parent: %w", err)
	}

	changed, deleted := sortChanges(changes)
	if err := m.create(); err != nil {
		return layer.Result{}, err
	}

	options.Tar = m.tar
	res, err := layer.ReadChanges(ctx, dir, changed, deleted, options)
	m.diffID = res.DiffID
	return res, err
}

// sortChanges gives the paths that were made or changed, and those that were deleted.
func sortChanges(changes []archive.Change) (changed, deleted []string) {
	for _, c := range changes {
		if c.Kind == archive.ChangeDelete {
			deleted = append(deleted, c.Path)
		} else {
			changed = append(changed, c.Path)
		}
	}
	slices.Sort(changed)
	slices.Sort(deleted)
	return changed, deleted
}

// changes compares the whole directory with its parent's. The driver's own comparison can't be trusted: what
// fuse-overlayfs notes for a directory that was removed and made again is read by no library.
func (m *mounted) changes(ctx context.Context, dir string) (changes []archive.Change, err error) {
	below, release, err := m.before(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	return compare(ctx, dir, below, nil)
}

// before opens the parent of the snapshot as the snapshot itself is shown.
func (m *mounted) before(ctx context.Context) (dir string, release func() error, err error) {
	switch {
	case m.parent == "":
		return "", nothing, nil
	case m.shown == nil:
		return m.room.store.MountLayer(m.parent)
	}
	v, err := m.shown.way.stackedView(ctx, m.below, m.shown.ns)
	if err != nil {
		return "", nil, err
	}
	return fdPath(v.Dir), v.Release, nil
}

func (m *mounted) Commit(ctx context.Context, parent string) (store.Layer, error) {
	return m.commit(ctx, parent, m.rootAttr, m.Remove)
}

// rootAttr is what the snapshot's root directory is now, in container IDs.
func (m *mounted) rootAttr() (layer.RootAttr, error) {
	attr, err := layer.ReadRootAttr(m.path())
	if err == nil && m.shown != nil && m.shown.owners != nil {
		attr.UID, attr.GID, err = m.shown.owners(attr.UID, attr.GID)
	}
	return attr, err
}

func (m *mounted) Remove() error {
	m.once.Do(func() {
		if err := errors.Join(m.close(), m.unmount(), m.room.lib.DeleteLayer(m.id), m.forget()); err != nil {
			m.err = fmt.Errorf("remove layer: %w", err)
		}
	})
	return m.err
}
