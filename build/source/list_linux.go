package source

import (
	"cmp"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Names are all names in an open directory, read from its current position on, in no order.
func Names(fd int) ([]string, error) {
	all, err := fsys.Dirents(fd, make([]byte, fsys.DirentBuffer))
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.Name
	}
	return names, err
}

// listing is one visible name.
type listing struct {
	fsys.Dirent
	// excluded directories are listed if something below them may be visible.
	excluded bool
	below    scope
}

// readListing calls yield for each visible name of a directory, in no order, until yield says false.
// fd may be O_PATH; rel is its path.
func readListing(fd int, rel string, at scope, yield func(listing) (bool, error)) error {
	// An own descriptor: the offset of a shared one would be shared too.
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

// list calls yield for each visible name at or below a directory until yield says false. Names in the way of a search
// that vanish or can't be read are left out: it only serves messages and a look for exceptions.
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
