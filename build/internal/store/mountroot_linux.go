package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// keepRoot remembers who owns a layer's root directory: the driver overlay gives the directory to root when it mounts
// the layer. giveBack, which is called after that, gives it back.
func keepRoot(s *Store, id string) (giveBack func() error, err error) {
	nothing := func() error { return nil }
	if !s.library.Layout.Stacks {
		return nothing, nil
	}
	dirs, err := s.library.Directories(id)
	if err != nil || dirs.Upper == "" {
		return nothing, err
	}
	var was unix.Stat_t
	if err := unix.Lstat(dirs.Upper, &was); err != nil {
		return nothing, fmt.Errorf("look at %s: %w", dirs.Upper, err)
	}
	if was.Uid == 0 && was.Gid == 0 { // or another process has mounted it just now, and gives it back
		return nothing, nil
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
	}, nil
}
