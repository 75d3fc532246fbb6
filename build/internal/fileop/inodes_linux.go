package fileop

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// maxInodes is how many files layers may have for their inodes to be remembered: 8 MiB or so.
const maxInodes = 1 << 18

// inodes are the regular files of some layers, which the first question lists. Several goroutines use it.
type inodes struct {
	dirs []*os.File

	once  sync.Once
	files map[uint64]bool
	// unknown says that there are too many, or that they can't be listed.
	unknown bool
}

// has tells whether a file is in one of the layers, or may be.
func (i *inodes) has(ino uint64) bool {
	i.once.Do(func() {
		i.files = map[uint64]bool{}
		for _, dir := range i.dirs {
			if err := i.list(int(dir.Fd()), "."); err != nil {
				i.unknown = true
				return
			}
		}
	})
	return i.unknown || i.files[ino]
}

var errTooMany = errors.New("too many files")

// list notes all files below a directory of a layer.
func (i *inodes) list(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	names, err := fsys.Dirents(fd, make([]byte, fsys.DirentBuffer))
	for _, d := range names {
		if err != nil {
			break
		}
		if len(i.files) >= maxInodes {
			return errTooMany
		}
		if _, err = d.FillType(fd); err != nil {
			break
		}
		switch d.Type {
		case unix.DT_DIR:
			err = i.list(fd, d.Name)
		case unix.DT_REG:
			i.files[d.Ino] = true
		}
	}
	return err
}
