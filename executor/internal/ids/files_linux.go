package ids

import (
	"os"

	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

// DiskMap gives the mapping of the ID-mapped mounts through which the step sees files on disk; nil: they aren't
// ID-mapped.
func (n *Namespace) DiskMap() *userns.Mapping {
	if n.shifted {
		return nil
	}
	return n.mapping
}

// DiskNS gives the user namespace with the mapping that DiskMap gives.
func (n *Namespace) DiskNS() *os.File {
	if n.shifted {
		return nil
	}
	return n.file
}

// Host gives the owner that the caller's namespace sees, through an ID-mapped mount, on a file that belongs to uid and
// gid on disk. Without ID-mapped mounts they are the same.
func (n *Namespace) Host(uid, gid uint32) Pair {
	if m := n.DiskMap(); m != nil {
		u, uidErr := m.UIDs.ToHost(uid)
		g, gidErr := m.GIDs.ToHost(gid)
		if uidErr == nil && gidErr == nil {
			return Pair{u, g}
		}
	}
	return Pair{uid, gid}
}

// OnDisk is the inverse of Host: it gives the owner on disk of a file on which the caller's namespace sees p through an
// ID-mapped mount.
func (n *Namespace) OnDisk(p Pair) Pair {
	if m := n.DiskMap(); m != nil {
		u, uidErr := m.UIDs.ToContainer(p.UID)
		g, gidErr := m.GIDs.ToContainer(p.GID)
		if uidErr == nil && gidErr == nil {
			return Pair{u, g}
		}
	}
	return p
}

// InMemory gives the owner that a file must have in a memory file system, which this process has mounted, so that the
// step sees uid and gid as its owner.
func (n *Namespace) InMemory(uid, gid uint32) (Pair, error) {
	if uid == 0 && gid == 0 {
		return n.root, nil
	}
	m, err := n.Mapping()
	if err != nil {
		return Pair{}, err
	}
	u, g, err := m.ToHost(uid, gid)
	switch {
	case err != nil:
		return Pair{}, err
	case n.mapping == nil: // the namespace is this process's own
		return Pair{uid, gid}, nil
	}
	return Pair{u, g}, nil
}

// AsRoot calls f as the container's root.
func (n *Namespace) AsRoot(f func() error) error { return overlay.AsContainerRoot(n.mapping, f) }

// AsStubOwner calls f, which makes files that are shown as those of the container's root: as that root, unless an
// ID-mapped mount shows this process's files so.
func (n *Namespace) AsStubOwner(f func() error) error {
	if n.shifted {
		return n.AsRoot(f)
	}
	return f()
}
