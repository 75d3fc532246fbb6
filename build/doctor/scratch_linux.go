package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// scratchPrefix begins the names of the directories that are filled in a trial.
const scratchPrefix = ".cooper-doctor-"

// newScratch makes such a directory. It is locked until remove has removed it: without a lock it is one that a killed
// doctor has left.
func newScratch(parent string) (dir string, remove func() error, err error) {
	for {
		if dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
			return "", nil, err
		}
		lock, err := lockScratch(dir)
		if lock != nil {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
		}
		// Another doctor may have swept it before it was locked, or be about to.
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// lockScratch locks the directory that has the name, which must be this user's own; nil says that somebody else has the
// lock. Closing the file unlocks it.
func lockScratch(dir string) (*os.File, error) {
	f, err := flock.TryExisting(dir, flock.Exclusive)
	if err != nil || f == nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFDIR || !fsys.Mine(&st)) {
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unmountBelow takes away the mounts that a killed doctor of root's has left in its directory: the storage library
// makes some when it opens a store. Those of other users went with their namespace.
func unmountBelow(dir string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		// The names of these directories have nothing that mountinfo would escape, but one above may.
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(unescaped(f[4]), dir+"/") {
			points = append(points, unescaped(f[4]))
		}
	}
	for _, point := range slices.Backward(points) { // the later ones may be on the earlier
		_ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
}

// unescaped undoes what mountinfo does to space, tab, newline and backslash in a path (proc_pid_mountinfo(5)).
func unescaped(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// sweep removes what killed doctors have left in a directory and those above it. What can't be removed now is left to
// the next one.
func sweep(dir string) {
	for ; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			entries = nil
		}
		for _, e := range entries {
			if !e.IsDir() || !strings.HasPrefix(e.Name(), scratchPrefix) {
				continue
			}
			old := filepath.Join(dir, e.Name())
			if lock, err := lockScratch(old); err == nil && lock != nil {
				unmountBelow(old)
				_ = os.RemoveAll(old)
				lock.Close()
			}
		}
		if dir == filepath.Dir(dir) {
			return
		}
	}
}
