package accounts

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// ErrNotRegular is what the error for a file of accounts that isn't a regular file wraps.
var ErrNotRegular = errors.New("not a regular file")

// open opens a file below root as if root were "/"; nil if there is none. It looks before it opens: opening a pipe
// would block, opening a device might do anything.
func open(root *os.File, name string) (*os.File, error) {
	if root == nil {
		return nil, nil
	}
	handle, err := fsys.OpenIn(int(root.Fd()), name, unix.O_PATH)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer unix.Close(handle)
	var st unix.Stat_t
	if err := unix.Fstat(handle, &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, ErrNotRegular
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", handle))
	if err != nil {
		return nil, errors.Unwrap(err) // without the path, which is one in /proc/self/fd
	}
	return f, nil
}
