// Package builder says who builds: which user, in which user namespaces, and what to do about IDs that these leave out.
package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/userns"
)

// Identity says which user builds, and in which user namespaces.
type Identity struct {
	// User is the user, by host ID.
	User userns.User
	// Process is the mapping of the user namespace that cooper itself is in; nil if that is the initial one.
	Process *userns.Mapping
	StepNS
}

// StepNS says which user namespace RUN steps get below cooper's own. The zero value is none.
type StepNS struct {
	// Steps is the mapping of that namespace, container IDs to the IDs of cooper's own namespace; nil: steps run in
	// cooper's own namespace.
	Steps *userns.Mapping
	// Joined is an existing namespace that RUN steps join; Steps is its mapping then. The caller closes it.
	Joined *joined.UserNS
	// Auto makes the build choose a range of IDs that nothing else uses; Steps is nil then.
	Auto *userns.AutoOptions
	// Ranges is the owner of the subordinate IDs that Steps is made of, unless Asked is set.
	Ranges userns.User
	// Asked tells that the user has asked for Steps or Auto; otherwise it is the default.
	Asked bool
}

// Key gives the text that stands for the user namespace in the cache key of a RUN step; "" without a namespace. With
// --userns=auto it is made of the options, since the free range differs from build to build.
func (i Identity) Key() string {
	switch {
	case i.Auto != nil:
		return fmt.Sprintf("auto %d %v %v", i.Auto.Size, i.Auto.UIDs, i.Auto.GIDs)
	case i.Steps != nil:
		return shift.MappingKey(*i.Steps)
	}
	return ""
}

// CheckPlace gives an error if the namespace of a step, or cooper's own, leaves out an owner (container IDs).
func (i Identity) CheckPlace(ns snapshot.NS, uid, gid uint32) error {
	for _, m := range []*userns.Mapping{ns.Mapping, i.Process} {
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
func (i Identity) ExplainUnmapped(ctx context.Context, err error) error {
	if known := new(userns.RangeError); errors.As(err, &known) {
		return err // the error has that advice already
	}
	e, need := new(userns.UnmappedError), userns.IDs{}
	if copied := new(fileop.OwnerError); errors.As(err, &copied) && i.Process != nil {
		need = userns.IDs{UIDs: []uint32{copied.UID}, GIDs: []uint32{copied.GID}}
		if _, _, mapErr := i.Process.ToHost(copied.UID, copied.GID); mapErr != nil {
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
	if i.Process != nil && !i.Process.Missing(need).Empty() {
		return errors.Join(err, userns.Finder{}.Check(ctx, i.User, *i.Process, need))
	}
	if i.Steps != nil && !i.Asked {
		return errors.Join(err, userns.Finder{}.Check(ctx, i.Ranges, *i.Steps, need))
	}

	return fmt.Errorf("%w\nhint: the map of RUN steps has to have the ID: IDs 0 to %d are a range of length %d", err, e.ID,
		uint64(e.ID)+1)
}

// Outsider gives the error, with the remedy, for a file whose owner the map of RUN steps leaves out.
func (i Identity) Outsider(ctx context.Context, path string, m userns.Mapping, missing userns.IDs) error {
	if !i.Asked {
		return fmt.Errorf("the owner of %q is outside the IDs that RUN steps have: %w\n"+
			"hint: or build with --userns=host, where root of a step is root of the machine",
			path, userns.Finder{}.Check(ctx, i.Ranges, m, missing))
	}
	return fmt.Errorf("the owner of %q is outside the ID map %q, which lacks %v\n"+
		"hint: the map has to have them: IDs 0 to %d are a range of length %d", path,
		strings.ReplaceAll(m.UIDs.String(), "\n", ", "),
		missing, missing.Highest(), uint64(missing.Highest())+1)
}
