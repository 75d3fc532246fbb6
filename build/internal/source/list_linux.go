package source

import (
	"cmp"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Names gives all names in an open directory, read from its current position on, unsorted.
func Names(fd int) ([]string, error) {
	all, err := fsys.Dirents(fd, make([]byte, fsys.DirentBuffer))
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.Name
	}
	return names, err
}

// listing is one visible name in a directory.
type listing struct {
	fsys.Dirent
	// excluded tells that the filter hides the name itself: a directory, which is listed because a file below it may be
	// visible.
	excluded bool
	below    scope
}

// readListing calls yield for each visible name of a directory, in no order, until yield says false.
// fd may be O_PATH; rel is its path.
func readListing(fd int, rel string, at scope, yield func(listing) (bool, error)) error {
	// The directory is opened again, since a shared descriptor would have a shared offset.
	own, err := fsys.Retry(func() (int, error) {
		return unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", cmp.Or(rel, "."), err)
	}
	defer func() { _ = unix.Close(own) }()
	buf := make([]byte, fsys.DirentBuffer)
	for {
		part, more, err := fsys.Getdents(own, buf, nil)
		if err != nil {
			return fmt.Errorf("read %s: %w", cmp.Or(rel, "."), err)
		}
		if !more {
			return nil
		}

		for _, d := range part {
			gone, err := d.FillType(own)
			if err != nil {
				return fmt.Errorf("stat %s: %w", joinPath(rel, d.Name), err)
			}
			v := verdict{hidden: gone}
			if !gone {
				v = at.judge(joinPath(rel, d.Name), d.Type == unix.DT_DIR)
			}
			if v.hidden {
				continue
			}
			if more, err := yield(listing{Dirent: d, excluded: v.excluded, below: v.below}); err != nil || !more {
				return err
			}
		}
	}
}

// list calls yield for each visible name in or below a directory until yield returns false. It leaves out directories
// that vanish or can't be read: its results are only used for messages and to find visible files in hidden directories.
func (s *Selection) list(fd int, rel string, at scope, yield func(listing) (bool, error)) error {
	more := true
	var deeper []listing
	err := readListing(fd, rel, at, func(l listing) (bool, error) {
		if l.Type == unix.DT_DIR {
			deeper = append(deeper, l)
		}
		var err error
		more, err = yield(l)
		return more, err
	})

	for _, l := range deeper {
		if err != nil || !more || len(rel) > maxPath {
			return err
		}
		sub, openErr := OpenDirectory(fd, l.Name)
		if openErr != nil {
			continue
		}
		err = s.list(sub, joinPath(rel, l.Name), l.below, func(l listing) (bool, error) {
			var err error
			more, err = yield(l)
			return more, err
		})
		_ = unix.Close(sub)
	}

	return err
}
