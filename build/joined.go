package build

import (
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
)

// UserNS is a user namespace that somebody else has made; see OpenUserNS.
type UserNS = executor.UserNS

// ErrNotAbove is behind the error about a user namespace that this process can't join because it lies not below its
// own.
var ErrNotAbove = executor.ErrNotAbove

// OpenUserNS opens the user namespace at a path for RUN steps to join. It is nil if that is the one this process is in.
// The caller closes it.
func OpenUserNS(path string) (*UserNS, error) { return executor.OpenUserNS(path) }

// ReadUserNS reads the map of the user namespace at a path, with the IDs of this process's namespace for host IDs. It
// is nil if the namespace is the one that this process is in.
func ReadUserNS(path string) (*userns.Mapping, error) { return executor.ReadUserNS(path) }
