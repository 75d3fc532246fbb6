package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build/internal/store/shift"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer/owners"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
)

// NS is the user namespace of a step below that of the process.
type NS struct {
	// Mapping is nil if the step has none.
	Mapping *userns.Mapping
	// Joined is the namespace that the step joins, which exists already; nil: it joins none.
	Joined *joined.UserNS
	// Shifted says that files get their owners by chown, in copies of the layers, and not from ID-mapped mounts.
	Shifted bool
}

// IDMap gives the map for ID-mapped mounts of layers; nil: they aren't ID-mapped.
func (ns NS) IDMap() *userns.Mapping {
	if ns.Shifted {
		return nil
	}
	return ns.Mapping
}

// OnDisk names the owners that files which are kept for the step have on disk; "" if they are the image's.
func (ns NS) OnDisk() string {
	if !ns.Shifted {
		return ""
	}
	return shift.MappingKey(*ns.Mapping)
}

// Shift gives files that were made for the step the owners it has for them on disk.
func (ns NS) Shift(ctx context.Context, dir string) error {
	if !ns.Shifted {
		return nil
	}
	return owners.Translate(ctx, dir, shift.ToDisk(*ns.Mapping))
}

// shiftFor is Shift before a step is run.
func (ns NS) shiftFor(ctx context.Context, dir string) error {
	if err := ns.Shift(ctx, dir); err != nil {
		return fmt.Errorf("prepare the files for the step's user namespace: %w", err)
	}
	return nil
}

// shiftBack gives files the owners that the image has.
func (ns NS) shiftBack(ctx context.Context, dir string) error {
	if !ns.Shifted {
		return nil
	}
	if err := owners.Translate(ctx, dir, shift.ToImage(*ns.Mapping)); err != nil {
		return fmt.Errorf("give the step's files the owners that the image has: %w", err)
	}
	return nil
}

// CanMap tells whether the kernel can show the files of a snapshot with the owners that a map gives them.
func CanMap(s Snapshot, m userns.Mapping) (bool, error) {
	path, _ := s.Files()
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return false, err
	}
	view, err := overlay.Mount(overlay.Options{Lower: []*os.File{dir}, IDMap: &m})
	if err == nil {
		return true, errors.Join(view.Close(), dir.Close())
	}
	if errors.Is(err, overlay.ErrNoIDMap) {
		err = nil
	}
	return false, errors.Join(err, dir.Close())
}
