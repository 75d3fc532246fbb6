package inroot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Limits for following a path in the root.
const (
	maxLinks = 40   // symbolic links, as in the kernel
	maxPath  = 4096 // bytes of a link's target
)

// Open is fsys.OpenIn with an error that names the path.
func Open(root *os.File, name string, flags uint64) (*os.File, error) {
	return opened(name)(fsys.OpenIn(int(root.Fd()), relative(name), flags))
}

// OpenPlain is fsys.OpenPlain with an error that names the path.
func OpenPlain(root *os.File, name string, flags uint64) (*os.File, error) {
	return opened(name)(fsys.OpenPlain(int(root.Fd()), relative(name), flags|unix.O_NOFOLLOW))
}

func opened(name string) func(fd int, err error) (*os.File, error) {
	return func(fd int, err error) (*os.File, error) {
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: "/" + strings.TrimPrefix(name, "/"), Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// relative gives the name for openat2: "." for the root itself.
func relative(name string) string {
	if name == "" || name == "/" {
		return "."
	}
	return name
}

// Place is the file that a path leads to inside a root.
type Place struct {
	Name   string // path relative to the root, without links, "." or ".."
	Exists bool
	Mode   uint32 // file type bits, if it exists
}

// IsDir tells whether the file is a directory.
func (p Place) IsDir() bool { return p.Mode&unix.S_IFMT == unix.S_IFDIR }

// Locate finds out where name leads below root, following links as the step would, also when the last elements don't
// exist.
func Locate(root *os.File, name string) (Place, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if mode, err := ModeOf(root, name); err == nil && mode&unix.S_IFMT != unix.S_IFLNK {
		return Place{name, true, mode}, nil
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
			return Place{Name: strings.TrimPrefix(missing, "/")}, nil
		case err != nil:
			return Place{}, err
		case mode&unix.S_IFMT != unix.S_IFLNK:
			done = append(done, element)
			continue
		}

		if links++; links > maxLinks || len(target) > maxPath {
			return Place{}, &os.PathError{Op: "resolve", Path: "/" + name, Err: unix.ELOOP}
		}
		if strings.HasPrefix(target, "/") {
			done = nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}

	here := path.Join(done...)
	mode, err := ModeOf(root, here)
	return Place{here, true, mode}, err
}

// ModeOf gives the type and mode of the file name. If its last component is a symbolic link, they are the link's; if
// another one is, it is an error.
func ModeOf(root *os.File, name string) (uint32, error) {
	_, mode, err := readElement(root, name)
	return mode, err
}

// readElement gives the mode of the file name, and the target of a symbolic link.
func readElement(root *os.File, name string) (target string, mode uint32, err error) {
	fd, err := fsys.OpenPlain(int(root.Fd()), relative(name), unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", 0, &os.PathError{Op: "open", Path: "/" + name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", 0, fmt.Errorf("stat /%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", st.Mode, nil
	}
	if target, err = fsys.ReadLinkAt(fd, ""); err != nil {
		return "", 0, fmt.Errorf("read link /%s: %w", name, err)
	}
	return target, st.Mode, nil
}

// Within tells whether name is dir or below it; both are clean and relative.
func Within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}
