package container

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

// emulate registers the step's emulators with the kernel, for the step's user namespace alone: since Linux 6.7 each
// user namespace can have a list of its own, which lasts as long as its mount, which Close unmounts. A namespace with a
// list doesn't use the machine's list any more, so the caller's own namespace must never get one: without Mapping the
// step gets a new namespace with the same IDs.
func (c *Container) emulate() error {
	if len(c.Step.Emulators) == 0 {
		return nil
	}
	if c.Step.UserNS != nil { // all other processes in it would get the emulators, too
		return fmt.Errorf("%w: in a user namespace that is joined: %w", emulator.ErrRegister, errors.ErrUnsupported)
	}

	ns := c.userNS
	if ns == nil {
		m, err := c.Mapping()
		if err != nil {
			return err
		}
		if ns, err = overlay.NewUserNS(userns.Mapping{UIDs: unshifted(m.UIDs), GIDs: unshifted(m.GIDs)}); err != nil {
			return err
		}
		c.nested = ns
		c.Own = append(c.Own, ns)
	}

	list, err := emulator.MountListIn(ns)
	if err != nil {
		return fmt.Errorf("%w: %w", emulator.ErrRegister, err)
	}
	c.Own = append(c.Own, list)
	for _, e := range c.Step.Emulators {
		if err := emulator.RegisterIn(list, e); err != nil {
			return fmt.Errorf("%w %s: %w", emulator.ErrRegister, e.Path, err)
		}
	}

	return nil
}

// unshifted maps the IDs of a namespace to themselves.
func unshifted(m userns.Map) userns.Map {
	same := slices.Clone(m)
	for i := range same {
		same[i].Host = same[i].Container
	}
	return same
}
