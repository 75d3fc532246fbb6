package overlay

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
)

// The paths for older kernels, which a newer one doesn't take by itself.
var MountPrivately = mountPrivately

// MaxLower is how many lower directories an overlay may have.
const MaxLower = maxLower

// Common is tested by itself.
var Common = common

// MountClassic is mountPrivately without the new way to configure a file system.
func MountClassic(o Options) (f *os.File, err error) {
	l, err := cloneLayers(o)
	defer closeAll(l.own)
	if err != nil {
		return nil, err
	}
	err = thread.OnLost(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return err
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		for _, fd := range l.mounts {
			if err = attachToRoot(fd); err != nil {
				return err
			}
		}
		f, err = l.mountClassic(o)
		return err
	})
	return f, err
}
