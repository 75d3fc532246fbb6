package layer

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// ReadRootAttr returns the attributes of a layer's root directory, for Options.ParentRoot of the layers above it.
func ReadRootAttr(dir string) (RootAttr, error) {
	d, err := tree.Open(dir)
	if err != nil {
		return RootAttr{}, err
	}
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstat(d.FD(), &st); err != nil {
		return RootAttr{}, fmt.Errorf("stat %q: %w", dir, err)
	}
	var x tree.Xattrs
	a, err := x.Read(tree.Node{FD: d.FD()}, "")
	if err != nil {
		return RootAttr{}, fmt.Errorf("read %q: %w", dir, err)
	}
	return rootAttr(&st, a), nil
}

func rootAttr(st *unix.Stat_t, a tree.Attrs) RootAttr {
	attr := RootAttr{Mode: st.Mode & tree.PermMask, UID: st.Uid, GID: st.Gid}
	for _, x := range a.Stored {
		if attr.Xattrs == nil {
			attr.Xattrs = map[string]string{}
		}
		attr.Xattrs[x.Name] = x.Value
	}
	return attr
}

// Equal tells whether two root directories have the same attributes.
func (a RootAttr) Equal(b RootAttr) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && maps.Equal(a.Xattrs, b.Xattrs)
}

// SetRootAttr gives a directory the attributes in a. Other extended attributes of the directory stay.
func SetRootAttr(dir string, a RootAttr) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", dir, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %q: %w", dir, err)
	}

	// A change of owner clears set-ID bits and capabilities, so it comes first.
	if st.Uid != a.UID || st.Gid != a.GID {
		if err := unix.Fchown(fd, int(a.UID), int(a.GID)); err != nil {
			return fmt.Errorf("change owner of %q: %w", dir, err)
		}
	}

	for _, name := range slices.Sorted(maps.Keys(a.Xattrs)) {
		if err := unix.Fsetxattr(fd, name, []byte(a.Xattrs[name]), 0); err != nil {
			return fmt.Errorf("set %s of %q: %w", name, dir, err)
		}
	}

	if err := unix.Fchmod(fd, a.Mode); err != nil {
		return fmt.Errorf("change mode of %q: %w", dir, err)
	}
	return nil
}
