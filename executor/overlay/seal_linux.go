package overlay

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
)

// ErrStillWritten is wrapped by the error about a file that is open for writing.
var ErrStillWritten = errors.New("a file in it is open for writing")

// The kernel closes the files of a process only a moment after its end.
const (
	sealWait  = time.Second      // how long Seal waits for that
	sealPause = time.Millisecond // between two tries
)

// Seal makes the overlay that Mount has mounted at root read-only, for everybody who has it open or mounted anywhere:
// nobody can write to it any more, through open directories neither. The error is ErrStillWritten if a file is open for
// writing.
func Seal(root *os.File) error {
	fs, err := unix.Fspick(int(root.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make overlay read-only: %w", err)
	}
	f := &filesystem{fd: fs, name: "overlay"}
	defer f.close()
	f.set("ro", "")
	if f.err != nil {
		return f.err
	}
	return unlessWritten(func() error { return unix.FsconfigReconfigure(fs) })
}

// SealIn makes one mount read-only that is attached in the mount namespace ns: whoever has a directory open that was
// opened through it can't write any more. Other mounts of the same directory are as they were.
func SealIn(ns, mount *os.File) error {
	return thread.OnLost(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare working directory: %w", err)
		}
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mount namespace: %w", err)
		}
		return unlessWritten(func() error {
			return setAttr(int(mount.Fd()), &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY},
				0)
		})
	})
}

// unlessWritten calls readOnly, which makes a mount read-only, again and again while files in it are open for writing.
// After sealWait it gives up with ErrStillWritten.
func unlessWritten(readOnly func() error) error {
	for end := time.Now().Add(sealWait); ; time.Sleep(sealPause) {
		err := readOnly()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("make read-only: %w", err)
		case time.Now().After(end):
			return ErrStillWritten
		}
	}
}
