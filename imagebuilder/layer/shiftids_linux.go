package layer

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
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

func (ids IDShift) owner(st *unix.Stat_t) (uid, gid uint32, err error) {
	if uid, err = ids.UID(st.Uid); err != nil {
		return 0, 0, fmt.Errorf("user: %w", err)
	}
	if gid, err = ids.GID(st.Gid); err != nil {
		return 0, 0, fmt.Errorf("group: %w", err)
	}
	return uid, gid, nil
}

// shiftedAttr is an extended attribute that holds IDs: old is its value as read, value the one with translated IDs.
type shiftedAttr struct{ name, old, value string }

func hasIDs(name string) bool {
	return name == capabilityXattr || name == aclAccess || name == aclDefault
}

// attrs gives the extended attributes of a file that hold IDs, translated.
func (ids IDShift) attrs(x *xattrReader, f xattrFile, st *unix.Stat_t) (list []shiftedAttr, err error) {
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil, nil
	}
	var found []string
	err = x.names(f, func(name string) error {
		if hasIDs(name) {
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}

	for _, name := range found {
		old, ok, err := x.value(f, name)
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
		list = append(list, shiftedAttr{name, old, value})
	}

	return list, nil
}

// attr translates the IDs in the value of an attribute.
func (ids IDShift) attr(name, value string) (string, error) {
	switch name {
	case capabilityXattr:
		return ids.capability(value)
	case aclAccess, aclDefault:
		return ids.acl(value)
	}
	return value, nil
}

// AttrIDs gives the IDs in the value of an extended attribute: those that an access control list names, and a file
// capability's root. Other attributes have none.
func AttrIDs(name, value string) (uids, gids []uint32) {
	note := func(ids *[]uint32) func(uint32) (uint32, error) {
		return func(id uint32) (uint32, error) {
			*ids = append(*ids, id)
			return id, nil
		}
	}
	// The functions only collect the IDs and return no error.
	_, _ = IDShift{UID: note(&uids), GID: note(&gids)}.attr(name, value)
	return uids, gids
}

// capability translates the root ID of a file capability. Version 2 has no root ID in the value; it stands for 0.
func (ids IDShift) capability(value string) (string, error) {
	le := binary.LittleEndian
	b := append([]byte(value), 0, 0, 0, 0)
	switch {
	case len(value) == capSize2 && le.Uint32(b)&capRevisionMask == capRevision2:
	case len(value) == capSize3 && le.Uint32(b)&capRevisionMask == capRevision3:
	default:
		return value, nil
	}
	root, err := ids.UID(le.Uint32(b[capSize2:]))
	if err != nil {
		return "", fmt.Errorf("translate %s: %w", capabilityXattr, err)
	}
	revision, size := uint32(capRevision3), capSize3
	if root == 0 {
		revision, size = capRevision2, capSize2
	}
	le.PutUint32(b, le.Uint32(b)&^capRevisionMask|revision)
	le.PutUint32(b[capSize2:], root)
	return string(b[:size]), nil
}

// acl translates the users and groups that an access control list names.
func (ids IDShift) acl(value string) (string, error) {
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
