package source

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// direntSize is the fixed part of a linux_dirent64: inode, offset, record length, type.
const direntSize = 8 + 8 + 2 + 1

// dirent is one name of a directory.
type dirent struct {
	name string
	typ  uint8
}

// readDirents gives the names in one part of a directory as getdents64 filled it in, without "." and "..".
func readDirents(buf []byte, out []dirent) []dirent {
	for len(buf) >= direntSize {
		size := int(binary.NativeEndian.Uint16(buf[16:]))
		if size < direntSize || size > len(buf) {
			return out
		}
		name := buf[direntSize:size]
		for n, c := range name {
			if c == 0 {
				name = name[:n]
				break
			}
		}
		if inode := binary.NativeEndian.Uint64(buf); inode != 0 && string(name) != "." && string(name) != ".." {
			out = append(out, dirent{name: string(name), typ: buf[18]})
		}
		buf = buf[size:]
	}
	return out
}

// fill asks for the type where the file system doesn't tell. gone means that the name isn't there any more.
func (d *dirent) fill(dir int) (gone bool, err error) {
	if d.typ != unix.DT_UNKNOWN {
		return false, nil
	}
	st, err := LstatAt(dir, d.name)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	// The types of directory entries are those of modes, shifted.
	d.typ = uint8(st.Mode & unix.S_IFMT >> 12)
	return false, err
}

// getdents reads the next part of a directory.
func getdents(fd int, buf []byte) (int, error) {
	return ignoringEINTR(func() (int, error) { return unix.Getdents(fd, buf) })
}

// Names are all names in an open directory, read from its current position on, in no order.
func Names(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := getdents(fd, buf)
		if err != nil || n == 0 {
			return names, err
		}
		for _, d := range readDirents(buf[:n], nil) {
			names = append(names, d.name)
		}
	}
}

// listing is one visible name.
type listing struct {
	dirent
	// excluded directories are listed if something below them may be visible.
	excluded bool
	below    scope
}

// readListing calls yield for each visible name of a directory, in no order, until yield says false.
// fd may be O_PATH; rel is its path.
func readListing(fd int, rel string, at scope, yield func(listing) (bool, error)) error {
	// An own descriptor: the offset of a shared one would be shared too.
	own, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return fmt.Errorf("open /%s: %w", rel, err)
	}
	defer func() { _ = unix.Close(own) }()
	buf := make([]byte, 32<<10)
	for {
		n, err := getdents(own, buf)
		if err != nil {
			return fmt.Errorf("read /%s: %w", rel, err)
		}
		if n == 0 {
			return nil
		}
		for _, d := range readDirents(buf[:n], nil) {
			gone, err := d.fill(own)
			if err != nil {
				return fmt.Errorf("stat /%s: %w", joinPath(rel, d.name), err)
			}
			v := verdict{hidden: gone}
			if !gone {
				v = at.judge(joinPath(rel, d.name), d.typ == unix.DT_DIR)
			}
			if v.hidden {
				continue
			}
			if more, err := yield(listing{dirent: d, excluded: v.excluded, below: v.below}); err != nil || !more {
				return err
			}
		}
	}
}

// list calls yield for each visible name at or below a directory until yield says false. Names in the way of a search that
// vanish or can't be read are left out: it only serves messages and a look for exceptions.
func (s *Selection) list(fd int, rel string, at scope, yield func(listing) (bool, error)) error {
	more := true
	var deeper []listing
	err := readListing(fd, rel, at, func(l listing) (bool, error) {
		if l.typ == unix.DT_DIR {
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
		sub, openErr := OpenDirectory(fd, l.name)
		if openErr != nil {
			continue
		}
		err = s.list(sub, joinPath(rel, l.name), l.below, func(l listing) (bool, error) {
			var err error
			more, err = yield(l)
			return more, err
		})
		_ = unix.Close(sub)
	}
	return err
}
