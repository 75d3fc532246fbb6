package library

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/mount"
	"golang.org/x/sys/unix"
)

// The prefixes of overlay's attributes in layers: those that any user can set, and those of the machine's root.
const (
	UserMarks    = "user.overlay."
	TrustedMarks = "trusted.overlay."
)

// A Layout is how a store keeps its layers.
type Layout struct {
	// Stacks says that each layer is a directory of its changes, and that those are stacked; else it is a whole tree.
	Stacks bool
	// Renames says that a directory becomes a layer by a rename.
	Renames bool
	// Program is what stacks the directories: the kernel, a program or the driver.
	Program Program
	// Marks is the prefix of overlay's own extended attributes in the layers.
	Marks string
	// LooseOwners says that files which can't be given to their owners keep the user's.
	LooseOwners bool
	// Volatile says that a step's file system may drop its own syncs, which a later commit makes good.
	Volatile bool
}

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

// Settings are what a layout depends on besides the driver.
type Settings struct {
	// Own is cooper's directory in the store's.
	Own string
	// Options are the driver's, as configured and as it has them.
	Options []string
	// Portable forbids renames.
	Portable bool
	// Trusted says that the machine's root has opened the store.
	Trusted bool
	// Volatile is that of the layout.
	Volatile bool
}

// Examine finds out the layout. It is called once, before the first layer is made.
func (l *Library) Examine(s Settings) {
	l.own = s.Own
	l.Layout = Layout{Stacks: l.GraphDriverName() == Overlay, Marks: UserMarks, Volatile: s.Volatile}
	if s.Trusted {
		l.Layout.Marks = TrustedMarks
	}
	if l.Layout.Stacks {
		l.Layout.Program = findProgram(l.GraphRoot(), s.Options)
	}
	loose, _ := driverOption(s.Options, "ignore_chown_errors")
	l.Layout.LooseOwners, _ = strconv.ParseBool(loose)
	l.Layout.Renames = !s.Portable && l.canRename(s)
}

// canRename tells whether a step's directory can become a layer by a rename: only with the kernel's own overlay.
func (l *Library) canRename(s Settings) bool {
	if !l.Layout.Stacks || l.store.ImageStore() != "" || l.Layout.Program.Path != "" {
		return false
	}
	_, masked := driverOption(s.Options, "force_mask")
	composefs, _ := driverOption(s.Options, "use_composefs")
	driver, err := l.GraphDriver()
	if err != nil || masked || composefs == "true" {
		return false
	}
	_, ok := driver.(drivers.DriverWithDiffer)
	return ok && l.rename.join(s.Own, l.GraphRoot(), s.Trusted)
}

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

// findProgram finds what the driver of the store in root has chosen. It says so nowhere but in a note in its directory.
func findProgram(root string, options []string) Program {
	var p Program
	p.Path, _ = driverOption(options, "mount_program")
	if p.Path == "" {
		flag, err := os.ReadFile(filepath.Join(root, Overlay, ".has-mount-program"))
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

// errForceMask names what stands in the way of other owners.
var errForceMask = errors.New(
	"give the files of a layer other owners: with force_mask their owners are in an attribute that only the mount program reads\n" +
		"hint: leave --userns and the maps out, or use a store without force_mask")

// CheckOwned says that a layer's files have on disk the owners that they have in the image.
func CheckOwned(dir string) error {
	_, err := unix.Lgetxattr(dir, "user.containers.override_stat", nil)
	if err == nil {
		return errForceMask
	}
	return nil
}

// MountOthers mounts a layer of an additional image store to be read, which Mount doesn't: it would note that there.
// The caller calls unmount when done.
func (l *Library) MountOthers(id string) (dir string, unmount func() error, err error) {
	driver, err := l.GraphDriver()
	if err == nil {
		dir, err = ask(l.fuse, func() (string, error) { return driver.Get(id, drivers.MountOpts{}) })
	}
	return dir, func() error { return l.fuse.do(func() error { return driver.Put(id) }) }, err
}

// Directories are those of a layer in a store that stacks.
type Directories struct {
	// Upper has the layer's files, and Work is for overlay's own use.
	Upper, Work string
}

// Directories finds those of a layer; the driver may know of other stores that have it. Upper is empty if none has.
func (l *Library) Directories(id string) (Directories, error) {
	driver, err := l.GraphDriver()
	if err != nil {
		return Directories{}, err
	}
	meta, err := driver.Metadata(id)
	if err != nil {
		return Directories{}, fmt.Errorf("ask the storage driver: %w", err)
	}
	return Directories{Upper: meta["UpperDir"], Work: meta["WorkDir"]}, nil
}
