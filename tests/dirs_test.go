package tests_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// enoughMemory is how many KiB of memory have to be available for sites to be in it. All tests at once have used less
// than half of that.
const enoughMemory = 6 << 20

// makeDirs makes the directories of the suite. The function it returns removes them.
//
// With a build's syncs, most of the time of a test on a disk is waiting for it, and a file system with a journal takes
// its time to give inodes of removed files out again. Neither is what most tests are about: root runs these in a file
// system in memory. It has what cooper needs of the disk's: overlay, both kinds of attributes, holes, ID-mapped mounts.
// What is about the disk is on it (newSiteOnDisk, scriptsOnDisk): kills, clean-up beside builds, other tools in the
// same store, sizes, and what each driver makes of every kind of change. Power cuts and full disks have file systems of
// their own.
func makeDirs() (remove func() error, err error) {
	if suite.disk, err = makeDir("e2e-"); err != nil {
		return nil, err
	}
	suite.dir = suite.disk
	remove = func() error { return removeTree(suite.disk) }
	if os.Getuid() != 0 {
		return remove, nil
	}
	memory, err := memoryAvailable()
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	if memory < enoughMemory {
		fmt.Printf("all tests are on the disk: %d MiB of memory are available, not %d\n", memory>>10, enoughMemory>>10)
		return remove, nil
	}
	inMemory, err := makeDir("mem-")
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	if err := unix.Mount("none", inMemory, "tmpfs", 0, "mode=711"); err != nil {
		fmt.Printf("all tests are on the disk: mount tmpfs on %s: %v\n", inMemory, err)
		return remove, os.Remove(inMemory)
	}
	suite.dir = inMemory
	return func() error {
		return errors.Join(unix.Unmount(inMemory, unix.MNT_DETACH), os.Remove(inMemory), removeTree(suite.disk))
	}, nil
}

// makeDir makes a directory below TMPDIR that others can go through. Its name is short, see configure.
func makeDir(prefix string) (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// memoryAvailable is how many KiB of memory programs can have without swapping (proc_meminfo(5)).
func memoryAvailable() (kib int, err error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("MemAvailable of /proc/meminfo: %w", err)
	}
	return kib, nil
}
