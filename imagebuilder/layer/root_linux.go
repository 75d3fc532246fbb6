package layer

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// SetRootAttr gives a directory these attributes, as ReadRootAttr finds them. Extended attributes that the directory has
// besides stay.
func SetRootAttr(dir string, a RootAttr) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", dir, err)
	}
	defer unix.Close(fd) //nolint:errcheck // read only
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
