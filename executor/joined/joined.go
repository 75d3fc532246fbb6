package joined

import (
	"errors"
	"os"

	"github.com/cooperbuild/cooper/userns"
)

// Errors of Open and Read.
var (
	// ErrNotUserNS is wrapped by the error about a path that isn't one of a user namespace.
	ErrNotUserNS = errors.New("is no user namespace")
	// ErrNotAbove is wrapped by the error about a user namespace that isn't below the caller's.
	ErrNotAbove = errors.New(
		"a user namespace can only be joined from one that it was made in, and this process is not in one")
)

// UserNS is an open user namespace that another program has made.
type UserNS struct {
	// Mapping is its mapping; host IDs are those of the caller's own user namespace. It maps the user and the group with
	// the container ID 0.
	Mapping userns.Mapping

	File *os.File // the namespace itself; Close closes it
	// ListedUIDs and ListedGIDs are the ranges of Mapping in the order in which the kernel lists them; runc accepts no
	// other.
	ListedUIDs, ListedGIDs []userns.Range
	// NoGroups tells that processes in the namespace can't change their supplementary groups.
	NoGroups bool
}

// Close closes the namespace. It may be called on nil.
func (u *UserNS) Close() error {
	if u == nil {
		return nil
	}
	return u.File.Close()
}
