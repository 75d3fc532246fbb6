package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// OpenError says why a store can't be opened: something about this machine, its files or its settings.
type OpenError struct {
	Problem string
	Hint    string // the remedy; "" if none is known
	Err     error  // the cause; may be nil
}

func (e *OpenError) Error() string {
	text := e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	return text
}

// Unwrap gives the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// Drivers are the storage drivers that this program has.
func Drivers() []string { return []string{"overlay", "vfs"} }

// defaults gives the options of storage.conf and the environment, overridden by those of the caller.
func defaults(o Options) (storage.StoreOptions, error) {
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.SetFormatter(&logrus.TextFormatter{DisableColors: true}) // this formatter quotes control characters
	var opts storage.StoreOptions
	if unshare.IsRootless() {
		for _, name := range []string{"HOME", "XDG_DATA_HOME"} {
			if dir := os.Getenv(name); dir != "" && !filepath.IsAbs(dir) {
				return opts, &OpenError{Problem: fmt.Sprintf("%s=%s is no absolute path, and the store is below it", name, dir),
					Hint: "set " + name + " to an absolute path, or choose a store with --root and --runroot and unset it"}
			}
		}
	}

	opts, err := storage.DefaultStoreOptions()
	if bad := runDirError(err); bad != nil {
		return opts, bad
	}
	if err != nil {
		return opts, &OpenError{Problem: "read storage configuration",
			Hint: "it is in storage.conf (man containers-storage.conf)", Err: err}
	}
	if err := moveUnwritable(&opts, o); err != nil {
		return opts, err
	}

	Apply(&opts, o)
	if driver := opts.GraphDriverName; driver != "" && !slices.Contains(Drivers(), driver) {
		return opts, &OpenError{Problem: fmt.Sprintf("there is no storage driver %q", driver),
			Hint: fmt.Sprintf("the drivers are %s; correct driver in storage.conf, or $STORAGE_DRIVER",
				strings.Join(Drivers(), " and "))}
	}

	return opts, nil
}

// runDirError gives the error for an ordinary user whose directory for run-time state can't be made, when
// XDG_RUNTIME_DIR names none and the system has made none; nil if err is about something else.
func runDirError(err error) error {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("storage-run-%d", unshare.GetRootlessUID()))
	if err == nil || !strings.Contains(err.Error(), dir) {
		return nil
	}
	if unix.Access(os.TempDir(), unix.W_OK|unix.X_OK) != nil || !isDirectory(os.TempDir()) {
		return &OpenError{
			Problem: fmt.Sprintf(
				"make a directory for the store's run-time state in %s, which is no directory that you may write to", os.TempDir()),
			Hint: "set TMPDIR to a directory, or unset it; or set XDG_RUNTIME_DIR to one of your own",
		}
	}
	return &OpenError{
		Problem: dir + ", where the store's run-time state belongs, is somebody else's, or others may write to it",
		Hint:    "set XDG_RUNTIME_DIR to a directory of your own with mode 700, or have that one removed",
	}
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// openError gives the error that names the directory at fault, and the remedy.
func openError(opts storage.StoreOptions, err error) error {
	if full := new(UnusableError); errors.As(unusable(err, dirsOf(opts)), &full) {
		return full
	}
	e := &OpenError{Problem: "open store " + opts.GraphRoot, Err: err}
	if dir := foreignGroup(opts.GraphRoot); dir != "" && strings.Contains(err.Error(), "mount overlay") {
		return &OpenError{
			Problem: fmt.Sprintf(
				"open store %s: %s has the set-group-ID bit and a group that isn't yours, and hands both on: overlay can't be mounted there", opts.GraphRoot, dir),
			Hint: fmt.Sprintf("run: chmod g-s %s; rm -r %s; or choose another directory with --root", dir, opts.GraphRoot),
		}
	}

	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Hint = fmt.Sprintf("%s and %s must be writable; --root and --runroot choose other directories", opts.GraphRoot,
			opts.RunRoot)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		e.Hint = "it must be a directory, or be in one in which it can be made; --root and --runroot choose others"
	case errors.Is(err, graphdriver.ErrIncompatibleFS):
		return &OpenError{
			Problem: fmt.Sprintf(
				"open store %s: overlay can't have its layers on the file system there, and fuse-overlayfs, which can, is not installed", opts.GraphRoot),
			Hint: "install fuse-overlayfs; or put the store on another file system, in a container on a volume, with --root and --runroot; " +
				"or use --storage-driver=vfs, which is slow",
			Err: err,
		}
	case strings.Contains(err.Error(), "option"):
		e.Hint = "options are KEY=VALUE, by --storage-opt, or in storage.conf (man containers-storage.conf)"
	case strings.Contains(err.Error(), "driver"):
		e.Hint = "--storage-driver must be the driver the store was made with"
	}

	return e
}

// foreignGroup gives the uppermost directory, from path upwards, that makes new files inherit a group (set-group-ID)
// which isn't mapped in this namespace; "" if path, or its nearest existing parent, doesn't.
func foreignGroup(path string) string {
	const nobody = 65534
	found := ""
	for dir := path; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		var st unix.Stat_t
		switch err := unix.Stat(dir, &st); {
		case err != nil && found == "":
		case err == nil && st.Mode&unix.S_ISGID != 0 && st.Gid == nobody:
			found = dir
		default:
			return found
		}
	}
	return found
}

// withPlainRoot replaces the path of the store's directory by one of an open descriptor (/proc/self/fd/N) if it has a
// colon, comma or the like: the library puts paths into mount options, where those are separators. Programs that the
// library starts inherit the descriptor. The file is nil if the path needs no replacement.
func withPlainRoot(opts storage.StoreOptions) (storage.StoreOptions, *os.File, error) {
	if !strings.ContainsAny(opts.GraphRoot, `:,\"`) {
		return opts, nil, nil
	}
	if err := os.MkdirAll(opts.GraphRoot, 0o700); err != nil {
		return opts, nil, err
	}
	fd, err := unix.Open(opts.GraphRoot, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return opts, nil, &os.PathError{Op: "open", Path: opts.GraphRoot, Err: err}
	}
	dir := os.NewFile(uintptr(fd), opts.GraphRoot)
	opts.GraphRoot = fmt.Sprintf("/proc/self/fd/%d", fd)
	return opts, dir, nil
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}
