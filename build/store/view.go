package store

import (
	"context"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// View shows a snapshot of a store that stacks in another way than the driver does: with other owners, or by a process
// that ends with the build.
type View struct {
	// Dir is the whole root file system of the step, mounted from the snapshot's own directories.
	Dir *os.File
	// Below opens what Dir has shown before the step; nil: nothing.
	Below func(ctx context.Context) (dir *os.File, release func() error, err error)
	// Owners translates the owners that Dir shows to container IDs; nil: they are the same.
	Owners func(uid, gid uint32) (containerUID, containerGID uint32, err error)
	// Unmount gives back Dir. What was written to it is in the snapshot's directories then.
	Unmount func() error

	// root is what the root directory was before the step, with the owners that Dir shows.
	root layer.RootAttr
}

// Remounter is a mounted snapshot of a store that stacks.
type Remounter interface {
	Snapshot
	// Remount puts a view in the place of the driver's mount or of the view before, until Commit or Remove. f mounts it
	// from the snapshot's directory of changes and an empty one that goes with that. It has to be called before a snapshot
	// is used that has no Dir.
	Remount(f func(upper, work string) (View, error)) error
}

var _ Remounter = (*mounted)(nil)

func (m *mounted) Remount(f func(upper, work string) (View, error)) error {
	meta, err := m.store.driver.Metadata(m.id)
	if err != nil {
		return fmt.Errorf("locate layer: %w", err)
	}
	if err := checkOwned(meta["UpperDir"]); err != nil {
		return err
	}
	if err := m.unmountView(); err != nil {
		return fmt.Errorf("unmount layer: %w", err)
	}
	if m.dir != "" {
		if _, err := m.store.store.Unmount(m.id, true); err != nil {
			return fmt.Errorf("unmount layer: %w", err)
		}
		m.dir = ""
	}
	v, err := f(meta["UpperDir"], meta["WorkDir"])
	if err != nil {
		return err
	}
	m.view = &v
	v.root, err = layer.ReadRootAttr(v.path())
	return err
}

func (m *mounted) unmountView() error {
	if m.view == nil {
		return nil
	}
	err := m.view.Unmount()
	m.view = nil
	return err
}

func (v *View) path() string { return fdPath(v.Dir) }

// fdPath names a directory's descriptor, with no link at its end.
func fdPath(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/.", dir.Fd()) }

// below opens the parent of the snapshot as the snapshot itself is shown.
func (m *mounted) below(ctx context.Context) (dir string, release func() error, err error) {
	release = func() error { return nil }
	switch {
	case m.parent == "":
		return "", release, nil
	case m.view == nil:
		return m.store.View(m.parent)
	}
	f, release, err := m.view.Below(ctx)
	if err != nil {
		return "", nil, err
	}
	return fdPath(f), release, nil
}

// rootAttr is what the snapshot's root directory is now, in container IDs.
func (m *mounted) rootAttr() (layer.RootAttr, error) {
	if m.view == nil {
		return layer.ReadRootAttr(m.dir)
	}
	attr, err := layer.ReadRootAttr(m.view.path())
	if err == nil && m.view.Owners != nil {
		attr.UID, attr.GID, err = m.view.Owners(attr.UID, attr.GID)
	}
	return attr, err
}
