package usernscmd

import (
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/executor/joined"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/userns"
)

// complete gives the modes that leave the second map open the one they would have now.
func complete(r *userns.Resolved, caller userns.Caller) error {
	switch {
	case r.Auto != nil:
		m, err := r.Auto.Allocate(userns.AutoSize(0, 0), nil)
		r.Second = &m
		return err
	case r.NSPath != "":
		return readNamespace(r, caller)
	}
	return nil
}

// readNamespace finds the map of a namespace that is there already.
func readNamespace(r *userns.Resolved, caller userns.Caller) error {
	read, err := joined.Read(r.NSPath)
	switch {
	case err != nil:
		return command.Usagef("--userns=ns: %w", err)
	case read == nil && (caller.Root || caller.Inside): // a build of this process would be in it, and its steps stay there
		r.NSPath = ""
		return nil
	case read == nil:
		return command.Usagef("--userns=%s: builds are in a namespace below this one, and can't go back into it", r.Mode)
	case caller.Inside: // as this process reads it, it begins with intermediate IDs
		r.Second = read
		return nil
	}
	second, err := read.Compose(userns.Mapping{UIDs: r.Outer.UIDs.Invert(), GIDs: r.Outer.GIDs.Invert()})
	if unmapped := new(userns.UnmappedError); errors.As(err, &unmapped) {
		return command.Usagef("--userns=%s: it has IDs that are not yours, such as %s %d of the host", r.Mode, unmapped.Kind,
			unmapped.ID)
	}
	if err != nil {
		return fmt.Errorf("--userns=%s: %w", r.Mode, err)
	}
	r.Second = &second
	return nil
}
