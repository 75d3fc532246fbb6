package ids

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

// Emulate registers the step's emulators with the kernel, for the step's user namespace alone: since Linux 6.7 each
// user namespace can have a list of its own, which lasts as long as its mount, which Close unmounts. A namespace with a
// list doesn't use the machine's list any more, so the caller's own namespace must never get one: without a mapping the
// step gets a new namespace with the same IDs. Enter must have been called.
func (n *Namespace) Emulate(emulators []emulator.Emulator) error {
	if len(emulators) == 0 {
		return nil
	}
	if n.joined != nil { // all other processes in it would get the emulators, too
		return fmt.Errorf("%w: in a user namespace that is joined: %w", emulator.ErrRegister, errors.ErrUnsupported)
	}

	ns := n.file
	if ns == nil {
		m, err := n.Mapping()
		if err != nil {
			return err
		}
		if ns, err = overlay.NewUserNS(userns.Mapping{UIDs: unshifted(m.UIDs), GIDs: unshifted(m.GIDs)}); err != nil {
			return err
		}
		n.nested = ns
		n.own = append(n.own, ns)
	}

	list, err := emulator.MountListIn(ns)
	if err != nil {
		return fmt.Errorf("%w: %w", emulator.ErrRegister, err)
	}
	n.own = append(n.own, list)
	for _, e := range emulators {
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
