package rootfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/userns"
)

// CheckPlace gives an error if the namespace of a step, or cooper's own, leaves out an owner (container IDs).
func (b *Roots) CheckPlace(ns NS, uid, gid uint32) error {
	for _, m := range []*userns.Mapping{ns.Mapping, b.Identity.Process} {
		if m == nil {
			continue
		}
		if _, _, err := m.ToHost(uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// ExplainUnmapped adds to an error about an ID that isn't mapped how to map it.
func (b *Roots) ExplainUnmapped(ctx context.Context, err error) error {
	if known := new(userns.RangeError); errors.As(err, &known) {
		return err // the error has that advice already
	}
	id := b.Identity
	e, need := new(userns.UnmappedError), userns.IDs{}
	if copied := new(fileop.OwnerError); errors.As(err, &copied) && id.Process != nil {
		need = userns.IDs{UIDs: []uint32{copied.UID}, GIDs: []uint32{copied.GID}}
		if _, _, mapErr := id.Process.ToHost(copied.UID, copied.GID); mapErr != nil {
			err = mapErr
		}
	}

	switch {
	case !errors.As(err, &e) || e.Side != userns.SideContainer:
		return err
	case e.Kind == userns.KindGID:
		need.GIDs = append(need.GIDs, e.ID)
	default:
		need.UIDs = append(need.UIDs, e.ID)
	}

	if id.Process != nil && !id.Process.Missing(need).Empty() {
		return errors.Join(err, userns.Finder{}.Check(ctx, id.Owner, *id.Process, need))
	}
	if id.Steps != nil && !id.Asked {
		return errors.Join(err, userns.Finder{}.Check(ctx, id.Ranges, *id.Steps, need))
	}

	return fmt.Errorf("%w\nhint: the map of RUN steps has to have the ID: IDs 0 to %d are a range of length %d", err, e.ID,
		uint64(e.ID)+1)
}
