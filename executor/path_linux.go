package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of what is believed about a path in the root.
const (
	maxLinks = 40
	maxPath  = 4096
)

// openIn opens name below root as if root were "/": links are followed, inside. Magic links of /proc are not.
func openIn(root *os.File, name string, flags uint64) (*os.File, error) {
	return open2(root, name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// openPlain opens name below root without following any link, so that the name is where it is.
func openPlain(root *os.File, name string, flags uint64) (*os.File, error) {
	return open2(root, name, flags|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
}

func open2(root *os.File, name string, flags, resolve uint64) (*os.File, error) {
	fd, err := open2FD(root, name, flags, resolve)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func open2FD(root *os.File, name string, flags, resolve uint64) (int, error) {
	if name == "" || name == "/" {
		name = "."
	}
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(int(root.Fd()), name, &how)
		if err == nil {
			return fd, nil
		}
		// EAGAIN: something was renamed somewhere while ".." was being walked.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return -1, &os.PathError{Op: "open", Path: "/" + strings.TrimPrefix(name, "/"), Err: err}
		}
	}
}

// place is where a path leads inside a root.
type place struct {
	name   string // relative to the root, without links, "." or ".."
	exists bool
	mode   uint32 // file type bits, if it exists
}

func (p place) isDir() bool { return p.mode&unix.S_IFMT == unix.S_IFDIR }

// locate finds out where name leads below root, following links as the step would, also when the last elements don't exist.
func locate(root *os.File, name string) (place, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if mode, err := modeOf(root, name); err == nil && mode&unix.S_IFMT != unix.S_IFLNK {
		return place{name, true, mode}, nil
	}
	var done []string
	rest := strings.Split(name, "/")
	links := 0
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			done = done[:max(len(done)-1, 0)]
			continue
		}
		here := path.Join(append(done, element)...)
		target, mode, err := readElement(root, here)
		switch {
		case errors.Is(err, unix.ENOENT):
			missing := path.Join(append([]string{"/", here}, rest...)...)
			return place{name: strings.TrimPrefix(missing, "/")}, nil
		case err != nil:
			return place{}, err
		case mode&unix.S_IFMT != unix.S_IFLNK:
			done = append(done, element)
			continue
		}
		if links++; links > maxLinks || len(target) > maxPath {
			return place{}, &os.PathError{Op: "resolve", Path: "/" + name, Err: unix.ELOOP}
		}
		if strings.HasPrefix(target, "/") {
			done = nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	here := path.Join(done...)
	mode, err := modeOf(root, here)
	return place{here, true, mode}, err
}

func modeOf(root *os.File, name string) (uint32, error) {
	_, mode, err := readElement(root, name)
	return mode, err
}

// readElement gives the mode of what name is, and if that is a symbolic link its target.
func readElement(root *os.File, name string) (target string, mode uint32, err error) {
	fd, err := open2FD(root, name, unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", 0, fmt.Errorf("stat /%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", st.Mode, nil
	}
	buf := make([]byte, maxPath+1)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", 0, fmt.Errorf("read link /%s: %w", name, err)
	}
	return string(buf[:n]), st.Mode, nil
}

// within says that name is dir or below it; both are clean and relative.
func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}
