package executor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openDatabase opens a regular file in the root for reading. It looks before it opens: opening a pipe would block, opening a device
// might do anything.
func openDatabase(root *os.File, name string) (*os.File, error) {
	handle, err := openIn(root, name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(handle.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat /%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("the image's /%s is not a regular file", name)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open /%s: %w", name, err)
	}
	return f, nil
}
