package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CapabilityXattr is the name of the attribute with the capabilities of a file.
const CapabilityXattr = "security.capability"

// Xattrs reads extended attributes. It keeps its buffer between files; the zero value is ready for use.
type Xattrs struct{ buf []byte }

// Names calls each for every attribute's name.
func (r *Xattrs) Names(f Node, each func(name string) error) error {
	n, err := r.grow(f.list)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(r.buf[:n]), "\x00"), "\x00") {
		if err := each(name); err != nil {
			return err
		}
	}
	return nil
}

// Value reads one attribute; ok is false if there is none of that name.
func (r *Xattrs) Value(f Node, name string) (value string, ok bool, err error) {
	n, err := r.grow(func(buf []byte) (int, error) { return f.get(name, buf) })
	switch {
	case errors.Is(err, unix.ENODATA):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("read extended attribute %q: %w", name, err)
	}
	return string(r.buf[:n]), true, nil
}

// grow repeats a call with a larger buffer while the result doesn't fit. The kernel's own limit is 64 KiB.
func (r *Xattrs) grow(call func(buf []byte) (int, error)) (int, error) {
	if r.buf == nil {
		r.buf = make([]byte, 1<<10) // with an empty one the kernel gives the size alone
	}
	for {
		n, err := call(r.buf)
		if !errors.Is(err, unix.ERANGE) || len(r.buf) > 1<<20 {
			return n, err
		}
		r.buf = make([]byte, 4*len(r.buf))
	}
}

// Xattr is an extended attribute.
type Xattr struct{ Name, Value string }

// Attrs holds the extended attributes of a file.
type Attrs struct {
	Stored []Xattr // the attributes that a layer holds, sorted by name
	Opaque bool    // overlay marks the directory as hiding its contents in lower layers
}

// Read returns the attributes of f that a layer holds. overlay is the prefix of overlay's own attributes; empty if the
// file isn't in a diff directory.
func (r *Xattrs) Read(f Node, overlay string) (Attrs, error) {
	var a Attrs
	err := r.Names(f, func(name string) error {
		if overlay != "" && strings.HasPrefix(name, overlay) {
			return r.mark(f, name, name[len(overlay):], &a)
		}
		if !IsStored(name) {
			return nil
		}
		value, ok, err := r.Value(f, name)
		if ok {
			a.Stored = append(a.Stored, Xattr{Name: name, Value: value})
		}
		return err
	})
	slices.SortFunc(a.Stored, func(x, y Xattr) int { return strings.Compare(x.Name, y.Name) })
	return a, err
}

// All returns every extended attribute of a file but overlay's own, and whether overlay marks it as opaque.
func (r *Xattrs) All(f Node, overlay string) (Attrs, error) {
	var a Attrs
	err := r.Names(f, func(name string) error {
		if strings.HasPrefix(name, overlay) {
			return r.mark(f, name, name[len(overlay):], &a)
		}
		value, ok, err := r.Value(f, name)
		if ok {
			a.Stored = append(a.Stored, Xattr{Name: name, Value: value})
		}
		return err
	})
	return a, err
}

// mark sets a.Opaque from overlay's attribute name, or refuses the attribute; kind is its name without the prefix.
func (r *Xattrs) mark(f Node, name, kind string, a *Attrs) error {
	switch kind {
	case "redirect", "metacopy":
		return ErrRedirect
	case "opaque":
		value, _, err := r.Value(f, name)
		a.Opaque = value == "y"
		return err
	}
	return nil
}

// IsStored tells whether a layer holds the attribute: only attributes that have the same meaning on another machine.
func IsStored(name string) bool {
	return name == CapabilityXattr || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// Layout of struct vfs_ns_cap_data (linux/capability.h).
const (
	CapRevisionMask = 0xff000000
	CapRevision2    = 0x02000000
	CapRevision3    = 0x03000000
	CapSize2        = 20
	CapSize3        = 24
)

// Capability translates the root ID of a version 3 file capability, which is what the kernel writes in a user
// namespace. With container ID 0 the value becomes version 2, as the same command writes it outside of a user
// namespace.
func Capability(value string, toContainer func(uid uint32) (uint32, error)) (string, error) {
	le := binary.LittleEndian
	if len(value) != CapSize3 || le.Uint32([]byte(value))&CapRevisionMask != CapRevision3 {
		return value, nil
	}
	b := []byte(value)
	root, err := toContainer(le.Uint32(b[CapSize2:]))
	if err != nil {
		return "", fmt.Errorf("translate %s: %w", CapabilityXattr, err)
	}
	if root != 0 {
		le.PutUint32(b[CapSize2:], root)
		return string(b), nil
	}
	le.PutUint32(b, le.Uint32(b)&^CapRevisionMask|CapRevision2)
	return string(b[:CapSize2]), nil
}
