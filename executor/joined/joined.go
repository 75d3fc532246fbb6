package joined

import (
	"errors"
	"os"

	"github.com/cooperbuild/cooper/userns"
)

// Errors of Open and Read.
var (
	// ErrNotUserNS is wrapped by the error about a path at which there is something else.
	ErrNotUserNS = errors.New("is no user namespace")
	// ErrNotAbove is wrapped by the error about a user namespace that lies not below the caller's.
	ErrNotAbove = errors.New(
		"a user namespace can only be joined from one that it was made in, and this process is not in one")
)

// UserNS is a user namespace that somebody else has made, held open.
type UserNS struct {
	// Mapping is its map; host IDs are those of the caller's own user namespace. In it container ID 0 has a user and a
	// group.
	Mapping userns.Mapping

	File *os.File // the namespace itself; Close closes it
	// ListedUIDs and ListedGIDs are Mapping in the order in which the kernel lists it: runc takes no other.
	ListedUIDs, ListedGIDs []userns.Range
	// NoGroups says that processes in it can't change their supplementary groups.
	NoGroups bool
}

// Close lets go of the namespace. A nil one has nothing to let go of.
func (u *UserNS) Close() error {
	if u == nil {
		return nil
	}
	return u.File.Close()
}
