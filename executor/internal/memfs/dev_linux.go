package memfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// DeviceNodes gives the names of the caller's device nodes that are mounted in the step's /dev: in a user namespace
// none can be made.
func DeviceNodes() []string { return []string{"null", "zero", "full", "random", "urandom", "tty"} }

// MakeDev makes the directory "dev", which becomes the step's /dev: empty files for device nodes, directories for other
// mounts, and links.
func (f *FS) MakeDev() error {
	for _, d := range []struct {
		name string
		mode uint32
	}{{"dev", 0o755}, {"dev/pts", 0o755}, {ShmDir, 0o1777}, {"dev/mqueue", 0o1777}} {
		if err := f.Mkdir(d.name, d.mode); err != nil {
			return err
		}
	}
	for _, name := range DeviceNodes() {
		if err := unix.Mknodat(int(f.Dir.Fd()), "dev/"+name, unix.S_IFREG, 0); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2",
	} {
		if err := unix.Symlinkat(target, int(f.Dir.Fd()), "dev/"+name); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return nil
}
