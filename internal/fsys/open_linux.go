package fsys

import (
	"bytes"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// OpenIn opens name below the directory root as if that were "/": links are followed, inside; magic links of /proc are
// not. flags are those of open(2); the descriptor is close-on-exec. The error is a bare errno.
func OpenIn(root int, name string, flags uint64) (int, error) {
	return open2(root, name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenPlain opens name below the directory root without following any link, so that the name is where it is. A link in
// the way is ELOOP, a way out EXDEV; with O_PATH and O_NOFOLLOW a link that the name itself has is opened.
func OpenPlain(root int, name string, flags uint64) (int, error) {
	return open2(root, name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
}

func open2(root int, name string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(root, name, &how)
		// EAGAIN says that something was renamed somewhere while ".." was being walked.
		if err == nil || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// OpenDir opens the directory at a path to be named by its descriptor (O_PATH), wherever it is moved. A link in its
// place is refused.
func OpenDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenAt opens a name in a directory. Reading leaves no access time behind where the caller may ask for that: writing
// those back costs as much as a small file takes to read.
func OpenAt(dir int, name string, flags int) (int, error) {
	fd, err := Retry(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_NOATIME, 0) })
	if errors.Is(err, unix.EPERM) {
		return Retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
	}
	return fd, err
}

// ReadLinkAt reads the symbolic link that has the name in a directory, or the one that dir itself is if name is empty.
func ReadLinkAt(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := Retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// LstatAt is lstat of a name in a directory.
func LstatAt(dir int, name string) (st unix.Stat_t, err error) {
	err = Retry0(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// ReadLine reads the first line, without its end, of a small regular file of this program's own; all of it if there is
// no line break. It takes half as many system calls as os.ReadFile, which tries first whether it can wait for the file.
func ReadLine(path string) ([]byte, error) {
	const most = 2 << 10 // of most files
	fd, err := Retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for buf := make([]byte, 0, most); ; buf = slices.Grow(buf, len(buf)) {
		for len(buf) < cap(buf) {
			n, err := Retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
			if err != nil {
				return nil, &os.PathError{Op: "read", Path: path, Err: err}
			}
			if n == 0 {
				return buf, nil
			}
			if at := bytes.IndexByte(buf[len(buf):len(buf)+n], '\n'); at >= 0 {
				return buf[:len(buf)+at], nil
			}
			buf = buf[:len(buf)+n]
		}
	}
}
