package durable

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uptimeOf names one mount of the directory's file system: as long as it lasts, all that was written is seen whole, on
// the disk or not. The name changes with a restart of the machine, and with each mount of the file system where the
// kernel tells mounts apart.
func uptimeOf(dir *os.File) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = nil // the name is then made of the rest, which mostly changes with a restart too
	}
	name := sysfsName(int(dir.Fd()))
	var st unix.Stat_t
	if name == "" || unix.Stat(filepath.Join("/sys/fs", name), &st) != nil {
		return strings.TrimSpace(string(boot))
	}
	// A mount makes this directory of /sys anew, and no two of them get the same inode number.
	return fmt.Sprintf("%s %s %d", bytes.TrimSpace(boot), name, st.Ino)
}

// sysfsName is the path of a file system's directory below /sys/fs; empty: it can't be found out.
func sysfsName(fd int) string {
	var path struct {
		length uint8
		name   [128]byte
	}
	const getSysfsPath = 2<<30 | unsafe.Sizeof(path)<<16 | 0x15<<8 | 1 // FS_IOC_GETFSSYSFSPATH, since Linux 6.10
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getSysfsPath, uintptr(unsafe.Pointer(&path))); errno == 0 {
		return string(bytes.TrimRight(path.name[:path.length], "\x00"))
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(fd, &st) != nil || unix.Fstatfs(fd, &fs) != nil {
		return ""
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC:
		return blockName("ext4", st.Dev)
	case unix.XFS_SUPER_MAGIC:
		return blockName("xfs", st.Dev)
	case unix.BTRFS_SUPER_MAGIC:
		return btrfsName(fd)
	}
	return ""
}

// blockName is the path below /sys/fs of a file system whose directory is named after its block device.
func blockName(kind string, dev uint64) string {
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return ""
	}
	return filepath.Join(kind, filepath.Base(device))
}

// btrfsName is the path below /sys/fs of a btrfs, whose directory is named after its UUID.
func btrfsName(fd int) string {
	var info struct {
		maxID, devices uint64
		id             [16]byte
		rest           [992]byte
	}
	const getInfo = 2<<30 | unsafe.Sizeof(info)<<16 | 0x94<<8 | 31 // BTRFS_IOC_FS_INFO
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getInfo, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return ""
	}
	id := info.id
	return fmt.Sprintf("btrfs/%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
