package containers

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Mount has the storage driver mount a container in this process's mount namespace, and gives the directory. It stays
// until Unmount is called as often.
func (r *Room) Mount(c Container) (string, error) {
	dir, err := r.library.Mount(c.ID, "")
	if err != nil {
		return "", fmt.Errorf("mount container %s: %w", c.Name(), err)
	}
	return dir, nil
}

// Unmount takes back one Mount; with force all of them.
func (r *Room) Unmount(c Container, force bool) error {
	if _, err := r.library.Unmount(c.ID, force); err != nil {
		return fmt.Errorf("unmount container %s: %w", c.Name(), err)
	}
	return nil
}

// MountedAt is the directory on which the driver has mounted a container in this process's mount namespace; "":
// nowhere. With a driver that mounts nothing it is the container's own directory, as long as somebody counts on it.
func (r *Room) MountedAt(c Container) (string, error) {
	n, err := r.library.Mounted(c.Layer)
	if err != nil {
		return "", fmt.Errorf("container %s: %w", c.Name(), err)
	}
	if n == 0 {
		return "", nil
	}
	l, err := r.library.Layer(c.Layer)
	if err != nil {
		return "", fmt.Errorf("container %s: %w", c.Name(), err)
	}
	if l.MountPoint == "" || r.library.Layout.Stacks && !isMountPoint(l.MountPoint) {
		return "", nil // it was mounted by a process, in a mount namespace, that is gone
	}
	return l.MountPoint, nil
}

// isMountPoint tells whether another file system is mounted on a directory.
func isMountPoint(dir string) bool {
	var st, above unix.Stat_t
	return unix.Lstat(dir, &st) == nil && unix.Lstat(filepath.Dir(dir), &above) == nil && st.Dev != above.Dev
}
