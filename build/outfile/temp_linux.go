package outfile

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	tempPrefix = ".cooper-"
	tempSuffix = ".tmp"
)

// IsTemp tells whether a name is one that this package gives to what isn't whole yet.
func IsTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// tempName is a name that is new in any directory. It doesn't contain the destination's, which may be as long as names
// can be.
func tempName() string {
	return tempPrefix + strconv.FormatUint(rand.Uint64(), 36) + tempSuffix //nolint:gosec // who guesses it gains nothing
}

// Unnamed makes an empty file in dir that never has a name that lasts, so that not even a killed process leaves it
// behind.
func Unnamed(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if !noUnnamed(err) {
		return f, err
	}
	f, err = os.CreateTemp(dir, tempPrefix+"*"+tempSuffix)
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

// noUnnamed says that the file system has no files without a name.
func noUnnamed(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.ENOENT)
}

// openUnnamed makes a file without a name that can be given one later; nil if there are no such files in dir.
func openUnnamed(dir *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o666)
	if noUnnamed(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "unnamed")
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Where a directory hands its group down and that has no ID in this user namespace, the kernel gives the file no name.
	if st.Gid == overflowID || st.Uid == overflowID {
		return nil, f.Close()
	}
	return f, nil
}

// openNamed makes a file with a temporary name in dir, locked as long as it is open.
func openNamed(dir *os.File, mode uint32) (f *os.File, name string, err error) {
	return locked(dir, func(name string) (int, error) {
		return unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	})
}

// makeDir makes a directory with a temporary name in dir, locked as long as it is open.
func makeDir(dir *os.File) (f *os.File, name string, err error) {
	return locked(dir, func(name string) (int, error) {
		if err := unix.Mkdirat(int(dir.Fd()), name, 0o777); err != nil {
			return -1, err
		}
		return unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// locked has create make something new in dir and locks it. Before it is locked, whoever sweeps the directory may
// remove it: then another is made.
func locked(dir *os.File, create func(name string) (int, error)) (*os.File, string, error) {
	for {
		name := tempName()
		fd, err := create(name)
		if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) && stillThere(dir) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		f := os.NewFile(uintptr(fd), name)
		if lock(f) && isAt(dir, name, f) {
			return f, name, nil
		}
		_ = f.Close()
	}
}

// stillThere says that a directory hasn't been removed, so that something can be made in it.
func stillThere(dir *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(dir.Fd()), &st) == nil && st.Nlink > 0
}

// lock takes the lock of an open file; false if another has it. What lies on a file system without locks counts as
// locked.
func lock(f *os.File) bool {
	got, err := flock.Try(f, flock.Exclusive)
	return got || err != nil
}

// isAt tells whether a name is still that of an open file.
func isAt(dir *os.File, name string, f *os.File) bool {
	var named, open unix.Stat_t
	return unix.Fstatat(int(dir.Fd()), name, &named, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		unix.Fstat(int(f.Fd()), &open) == nil &&
		named.Ino == open.Ino && named.Dev == open.Dev
}

// sweep removes what killed processes of this user have left in dir. It is no error if it can't: nobody has asked for
// it.
func sweep(dir *os.File) {
	list, err := os.Open(procPath(dir))
	if err != nil {
		return
	}
	defer func() { _ = list.Close() }()
	root, err := os.OpenRoot(procPath(dir))
	if err != nil {
		return
	}
	defer func() { _ = root.Close() }()
	for {
		names, err := list.Readdirnames(1024)
		for _, name := range names {
			if IsTemp(name) {
				sweepOne(root, dir, name)
			}
		}
		if err != nil {
			return
		}
	}
}

func sweepOne(root *os.Root, dir *os.File, name string) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || !fsys.Mine(&st) {
		return
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return
	}
	// Without locks nobody knows whether it is in use.
	if free, err := flock.Try(f, flock.Exclusive); err == nil && free && isAt(dir, name, f) {
		_ = root.RemoveAll(name)
	}
}

// syncFile is fsync where the file system has it.
func syncFile(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// syncDir makes a rename in the directory durable, if it can: a directory may be writable and not readable. What was
// renamed is whole in any case, so that an error here doesn't undo it.
func syncDir(dir *os.File) {
	d, err := os.Open(procPath(dir))
	if err != nil {
		return
	}
	_ = syncFile(d)
	_ = d.Close()
}

// cause takes the operation and the temporary name off an error, which say nothing to the user. The name of what is
// foreign stays.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && !errors.Is(err, ErrForeign) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
