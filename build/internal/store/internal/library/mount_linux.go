package library

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mount mounts a layer or a container until Unmount is called as often, and gives the directory. The driver overlay
// gives the root directory of what it mounts to root: its owner gets it back.
func (l *Library) Mount(id, label string) (string, error) {
	giveBack := l.keepRoot(id)
	dir, err := l.layers.Mount(id, label)
	if err != nil {
		return "", err
	}
	if err := giveBack(); err != nil {
		_, unmountErr := l.Unmount(id, false)
		return "", errors.Join(err, unmountErr)
	}
	return dir, nil
}

// keepRoot remembers who owns the root directory of what is going to be mounted. giveBack, which is called after that,
// gives it back.
func (l *Library) keepRoot(id string) (giveBack func() error) {
	nothing := func() error { return nil }
	if !l.Layout.Stacks {
		return nothing
	}
	if c, err := l.Container(id); err == nil {
		id = c.LayerID
	}
	dirs, err := l.Directories(id)
	if err != nil || dirs.Upper == "" { // mounting says what is wrong with it
		return nothing
	}
	var was unix.Stat_t
	if err := unix.Lstat(dirs.Upper, &was); err != nil {
		return nothing
	}
	if was.Uid == 0 && was.Gid == 0 { // or another process has mounted it just now, and gives it back
		return nothing
	}
	return func() error {
		var now unix.Stat_t
		err := unix.Lstat(dirs.Upper, &now)
		if err == nil && now.Uid == was.Uid && now.Gid == was.Gid {
			return nil
		}
		// The owner comes first, for it takes setuid and setgid away.
		err = errors.Join(err, os.Lchown(dirs.Upper, int(was.Uid), int(was.Gid)), unix.Chmod(dirs.Upper, was.Mode&0o7777))
		if err != nil {
			return fmt.Errorf("give %s back to its owner: %w", dirs.Upper, err)
		}
		return nil
	}
}
