package fileop

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/chmod"
)

// rules give the attributes of copies.
type rules struct {
	// chown and keepOwner are those of CopyOptions.
	chown     *Owner
	keepOwner bool
	chmod     chmod.Change
}

// owner gives the owner of the copy of a file that belongs to uid and gid.
func (r rules) owner(uid, gid uint32) (uint32, uint32) {
	switch {
	case r.chown != nil:
		return r.chown.UID, r.chown.GID
	case r.keepOwner:
		return uid, gid
	default:
		return 0, 0
	}
}

// copied gives the attributes of a copy whose source has the attributes st and xattrs.
func (r rules) copied(st *unix.Stat_t, xattrs []source.Xattr) *attrs {
	a := &attrs{mode: st.Mode & 0o7777, mtime: st.Mtim, xattrs: xattrs}
	a.uid, a.gid = r.owner(st.Uid, st.Gid)
	a.mode = r.chmod.Apply(a.mode, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	return a
}

// implied gives the attributes of a directory that is made because a file is put into it.
func (r rules) implied(mode uint32) attrs {
	a := attrs{mode: mode, mtime: omitTime()}
	if r.chown != nil {
		a.uid, a.gid = r.chown.UID, r.chown.GID
	}
	return a
}
