package store

import (
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// Where root's store is if nothing is configured, and by the storage.conf of distributions.
const (
	systemRoot    = "/var/lib/containers/storage"
	systemRunRoot = "/run/containers/storage"
)

// lesserRoot reports whether this process is root of a user namespace, or root without the right to mount, and was not
// started for another user.
func lesserRoot() bool { return unshare.IsRootless() && unshare.GetRootlessUID() == 0 }

// moveUnwritable makes a lesser root use the store in its home directory if it can't use the system's store.
func moveUnwritable(opts *storage.StoreOptions, o Options) error {
	if o.Root != "" || opts.GraphRoot != systemRoot || !lesserRoot() {
		return nil
	}
	why, err := noSystemStore()
	if err != nil {
		return err
	}
	if why != "" {
		data, err := homedir.GetDataHome()
		if err != nil {
			return &OpenError{Problem: why + ", and there is no home directory", Hint: "choose a store with --root", Err: err}
		}
		opts.GraphRoot = filepath.Join(data, "containers", "storage")
	}
	if opts.RunRoot == systemRunRoot && (why != "" || !CanMake(systemRunRoot)) {
		dir, err := homedir.GetRuntimeDir()
		if err != nil {
			return &OpenError{Problem: "find a directory for the store's state", Hint: "choose one with --runroot", Err: err}
		}
		opts.RunRoot = filepath.Join(dir, "containers")
	}
	return nil
}

// noSystemStore says why a lesser root can't use the system's store; "" if it can.
func noSystemStore() (why string, err error) {
	if !CanMake(systemRoot) {
		return systemRoot + " can't be written to", nil
	}
	m, err := userns.ReadMap("/proc/self", userns.KindUID)
	if err != nil {
		return "", err
	}
	// The machine's root marks deletions in layers by extended attributes that only it can see.
	if len(m) == 1 && m[0].Host == 0 && m[0].Length >= userns.MaxID {
		return systemRoot + " is for the root who may mount, whose layers are others", nil
	}
	return "", nil
}

// CanMake reports whether this process can write to the directory or, if it is missing, make it.
func CanMake(dir string) bool {
	for {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err == nil {
			return st.Mode&unix.S_IFMT == unix.S_IFDIR && unix.Access(dir, unix.W_OK|unix.X_OK) == nil
		}
		up := filepath.Dir(dir)
		if up == dir || !strings.HasPrefix(dir, "/") {
			return false
		}
		dir = up
	}
}
