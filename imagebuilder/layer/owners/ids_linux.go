package owners

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Access control lists as the kernel shows them (linux/posix_acl_xattr.h): a version, and entries of tag, permissions
// and ID.
const (
	aclAccess    = "system.posix_acl_access"
	aclDefault   = "system.posix_acl_default"
	aclHeader    = 4
	aclEntrySize = 8
	aclUser      = 0x02
	aclGroup     = 0x08
)

func (ids Translation) owner(st *unix.Stat_t) (uid, gid uint32, err error) {
	if uid, err = ids.UID(st.Uid); err != nil {
		return 0, 0, fmt.Errorf("user: %w", err)
	}
	if gid, err = ids.GID(st.Gid); err != nil {
		return 0, 0, fmt.Errorf("group: %w", err)
	}
	return uid, gid, nil
}

// attr is an extended attribute that holds IDs: old is its value as read, value the one with translated IDs.
type attr struct{ name, old, value string }

func hasIDs(name string) bool {
	return name == tree.CapabilityXattr || name == aclAccess || name == aclDefault
}

// attrs gives the extended attributes of a file that hold IDs, translated.
func (ids Translation) attrs(x *tree.Xattrs, f tree.Node, st *unix.Stat_t) (list []attr, err error) {
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil, nil
	}
	var found []string
	err = x.Names(f, func(name string) error {
		if hasIDs(name) {
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}

	for _, name := range found {
		old, ok, err := x.Value(f, name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		value, err := ids.attr(name, old)
		if err != nil {
			return nil, err
		}
		list = append(list, attr{name, old, value})
	}

	return list, nil
}

// attr translates the IDs in the value of an attribute.
func (ids Translation) attr(name, value string) (string, error) {
	switch name {
	case tree.CapabilityXattr:
		return ids.capability(value)
	case aclAccess, aclDefault:
		return ids.acl(value)
	}
	return value, nil
}

// OfAttr gives the IDs in the value of an extended attribute: those that an access control list names, and a file
// capability's root. Other attributes have none.
func OfAttr(name, value string) (uids, gids []uint32) {
	note := func(ids *[]uint32) func(uint32) (uint32, error) {
		return func(id uint32) (uint32, error) {
			*ids = append(*ids, id)
			return id, nil
		}
	}
	// The functions only collect the IDs and return no error.
	_, _ = Translation{UID: note(&uids), GID: note(&gids)}.attr(name, value)
	return uids, gids
}

// capability translates the root ID of a file capability. Version 2 has no root ID in the value; it stands for 0.
func (ids Translation) capability(value string) (string, error) {
	le := binary.LittleEndian
	b := append([]byte(value), 0, 0, 0, 0)
	switch {
	case len(value) == tree.CapSize2 && le.Uint32(b)&tree.CapRevisionMask == tree.CapRevision2:
	case len(value) == tree.CapSize3 && le.Uint32(b)&tree.CapRevisionMask == tree.CapRevision3:
	default:
		return value, nil
	}
	root, err := ids.UID(le.Uint32(b[tree.CapSize2:]))
	if err != nil {
		return "", fmt.Errorf("translate %s: %w", tree.CapabilityXattr, err)
	}
	revision, size := uint32(tree.CapRevision3), tree.CapSize3
	if root == 0 {
		revision, size = tree.CapRevision2, tree.CapSize2
	}
	le.PutUint32(b, le.Uint32(b)&^tree.CapRevisionMask|revision)
	le.PutUint32(b[tree.CapSize2:], root)
	return string(b[:size]), nil
}

// acl translates the users and groups that an access control list names.
func (ids Translation) acl(value string) (string, error) {
	le := binary.LittleEndian
	b := []byte(value)
	for at := aclHeader; at+aclEntrySize <= len(b); at += aclEntrySize {
		translate := ids.UID
		switch le.Uint16(b[at:]) {
		case aclUser:
		case aclGroup:
			translate = ids.GID
		default:
			continue
		}
		id, err := translate(le.Uint32(b[at+4:]))
		if err != nil {
			return "", fmt.Errorf("translate access control list: %w", err)
		}
		le.PutUint32(b[at+4:], id)
	}
	return string(b), nil
}
