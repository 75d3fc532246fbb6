package source

import (
	"errors"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// An Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Capability is the attribute that holds a file's capabilities.
const Capability = "security.capability"

// CopiedXattr reports whether COPY copies an extended attribute of a file. Those of overlayfs must never be copied: a
// file could hide or replace files of other layers with them. Labels of security modules belong to the machine. ACLs
// name owners, so they are copied if owners are.
func CopiedXattr(name string, owners bool) bool {
	switch {
	case name == Capability:
		return true
	case strings.HasPrefix(name, "user."):
		return !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, "user.containers.") &&
			!strings.HasPrefix(name, "user.fuseoverlayfs.")
	case strings.HasPrefix(name, "system.posix_acl_"):
		return owners
	default:
		return false
	}
}

// Xattrs reads the extended attributes of an open file that a copy of it gets, sorted by name: capabilities, user.*
// without those of overlayfs and similar programs and, if owners are kept, ACLs. Capabilities that are valid only in
// another user namespace can't be seen in this one and are left out.
func Xattrs(fd int, owners bool) ([]Xattr, error) {
	var small [256]byte
	n, err := unix.Flistxattr(fd, small[:])
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}

	names := small[:max(n, 0)]
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 64<<10)
		n, err = unix.Flistxattr(fd, names)
		names = names[:max(n, 0)]
	}
	if err != nil {
		return nil, err
	}

	var out []Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !CopiedXattr(name, owners) {
			continue
		}
		value, err := getXattr(fd, name)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOVERFLOW) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Xattr{Name: name, Value: value})
	}

	sort.Slice(out, func(a, b int) bool { return out[a].Name < out[b].Name })
	return out, nil
}

func getXattr(fd int, name string) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := unix.Fgetxattr(fd, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10)
		n, err = unix.Fgetxattr(fd, name, buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n:n], nil
}
