package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const capabilityXattr = "security.capability"

// xattrReader reads extended attributes. It keeps its buffer between files; the zero value is ready for use.
type xattrReader struct{ buf []byte }

// names calls each for every attribute's name.
func (r *xattrReader) names(f xattrFile, each func(name string) error) error {
	if r.buf == nil {
		r.buf = make([]byte, 1<<10)
	}
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

// value reads one attribute; ok is false if there is none of that name.
func (r *xattrReader) value(f xattrFile, name string) (value string, ok bool, err error) {
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
func (r *xattrReader) grow(call func(buf []byte) (int, error)) (int, error) {
	for {
		n, err := call(r.buf)
		if !errors.Is(err, unix.ERANGE) || len(r.buf) > 1<<20 {
			return n, err
		}
		r.buf = make([]byte, 4*len(r.buf))
	}
}

// attrs holds the extended attributes of a file.
type attrs struct {
	stored []xattr // the attributes that a layer holds, sorted by name
	opaque bool    // overlay marks the directory as hiding its contents in lower layers
}

// read returns the attributes of f that a layer holds. overlay is the prefix of overlay's own attributes; empty if the
// file isn't in a diff directory.
func (r *xattrReader) read(f xattrFile, overlay string) (attrs, error) {
	var a attrs
	err := r.names(f, func(name string) error {
		if overlay != "" && strings.HasPrefix(name, overlay) {
			return r.mark(f, name, name[len(overlay):], &a)
		}
		if !isStored(name) {
			return nil
		}
		value, ok, err := r.value(f, name)
		if ok {
			a.stored = append(a.stored, xattr{name, value})
		}
		return err
	})
	slices.SortFunc(a.stored, func(x, y xattr) int { return strings.Compare(x.name, y.name) })
	return a, err
}

// mark sets a.opaque from overlay's attribute name, or refuses the attribute; kind is its name without the prefix.
func (r *xattrReader) mark(f xattrFile, name, kind string, a *attrs) error {
	switch kind {
	case "redirect", "metacopy":
		return ErrRedirect
	case "opaque":
		value, _, err := r.value(f, name)
		a.opaque = value == "y"
		return err
	}
	return nil
}

// isStored tells whether a layer holds the attribute: only attributes that have the same meaning on another machine.
func isStored(name string) bool {
	return name == capabilityXattr || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// Layout of struct vfs_ns_cap_data (linux/capability.h).
const (
	capRevisionMask = 0xff000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capSize2        = 20
	capSize3        = 24
)

// capability translates the root ID of a version 3 file capability, which is what the kernel writes in a user
// namespace. With container ID 0 the value becomes version 2, as the same command writes it outside of a user
// namespace.
func capability(value string, toContainer func(uid uint32) (uint32, error)) (string, error) {
	le := binary.LittleEndian
	if len(value) != capSize3 || le.Uint32([]byte(value))&capRevisionMask != capRevision3 {
		return value, nil
	}
	b := []byte(value)
	root, err := toContainer(le.Uint32(b[capSize2:]))
	if err != nil {
		return "", fmt.Errorf("translate %s: %w", capabilityXattr, err)
	}
	if root != 0 {
		le.PutUint32(b[capSize2:], root)
		return string(b), nil
	}
	le.PutUint32(b, le.Uint32(b)&^capRevisionMask|capRevision2)
	return string(b[:capSize2]), nil
}
