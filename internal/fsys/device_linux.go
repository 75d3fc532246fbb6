package fsys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The highest numbers of a device that the kernel keeps.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// Device gives the number of a device for mknod(2). Of higher numbers the kernel would leave a part out, so that the
// device would be another one: 4096:0 would become 0:0, by which overlay hides files.
func Device(major, minor int64) (int, error) {
	if major < 0 || minor < 0 || major > maxMajor || minor > maxMinor {
		return 0, fmt.Errorf("device %d:%d: Linux has devices from 0:0 to %d:%d", major, minor, maxMajor, maxMinor)
	}
	return int(unix.Mkdev(uint32(major), uint32(minor))), nil
}
