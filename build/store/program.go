package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.podman.io/storage/pkg/mount"
	"golang.org/x/sys/unix"
)

// A Program is what the overlay driver mounts layers with in place of the kernel.
type Program struct {
	// Path is empty if it is the kernel.
	Path string
	// Options are those of storage.conf or --storage-opt that are the program's own.
	Options []string
	// ByDriver says that the driver has to mount: files of layers may be in other stores, which it alone finds, or the
	// caller can't.
	ByDriver bool
}

// fuseOverlayFS is the program that the driver looks for where none is configured and the kernel's overlay doesn't do.
const fuseOverlayFS = "fuse-overlayfs"

// driverOption finds an option of the overlay driver, the last one of that name.
func driverOption(all []string, name string) (value string, ok bool) {
	for _, o := range all {
		key, v, _ := strings.Cut(o, "=")
		if _, option, dotted := strings.Cut(key, "."); dotted {
			key = option
		}
		if strings.EqualFold(key, name) {
			value, ok = v, true
		}
	}
	return value, ok
}

// findProgram finds what the driver has chosen. It says so nowhere but in a note in its directory.
func (s *Store) findProgram(options []string) Program {
	var p Program
	if s.store.GraphDriverName() != overlayDriver {
		return p
	}
	p.Path, _ = driverOption(options, "mount_program")
	if p.Path == "" {
		flag, err := os.ReadFile(filepath.Join(s.store.GraphRoot(), overlayDriver, ".has-mount-program"))
		if err != nil || strings.TrimSpace(string(flag)) != "true" {
			return p
		}
		if p.Path, err = exec.LookPath(fuseOverlayFS); err != nil {
			p.Path = fuseOverlayFS
		}
	}
	_, p.ByDriver = driverOption(options, "additionallayerstore")
	if given, ok := driverOption(options, "mountopt"); ok {
		if _, own := mount.ParseOptions(given); own != "" {
			p.Options = strings.Split(own, ",")
		}
	}
	return p
}

// MountProgram is what the driver mounts with.
func (s *Store) MountProgram() Program { return s.program }

// LeaveMountsToDriver is called before a store's first use by who can't make views.
func (s *Store) LeaveMountsToDriver() { s.program.ByDriver = true }

// Stacks tells whether the driver keeps for each layer a directory of its changes, and stacks those.
func (s *Store) Stacks() bool { return s.store.GraphDriverName() == overlayDriver }

// NeedsView tells whether the layer is to be seen by a View of its own rather than by the driver's mount: a program
// that the driver has started, and with it its mount, would outlive a build that is killed.
func (s *Store) NeedsView(id string) bool {
	if s.program.Path == "" || s.program.ByDriver {
		return false
	}
	dir, err := s.DiffDir(id)
	return err == nil && checkOwned(dir) == nil
}

// errForceMask names what stands in the way of other owners.
var errForceMask = errors.New(
	"give the files of a layer other owners: with force_mask their owners are in an attribute that only the mount program reads\n" +
		"hint: leave --userns and the maps out, or use a store without force_mask")

// checkOwned says that a layer's files have on disk the owners that they have in the image.
func checkOwned(dir string) error {
	_, err := unix.Lgetxattr(dir, "user.containers.override_stat", nil)
	if err == nil {
		return errForceMask
	}
	return nil
}
