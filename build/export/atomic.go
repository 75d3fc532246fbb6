package export

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	tempPrefix = ".cooper-"
	tempSuffix = ".tmp"
)

// AtomicFile is a file that appears under its name when it is whole, or never. It is not safe for concurrent use.
type AtomicFile struct {
	// path is the name as the caller gave it, target the same without symbolic links.
	path, target string
	// temp is the name for now; empty if target is a device or pipe that is written to directly.
	temp string
	file *os.File
	done bool
}

var _ io.Writer = (*AtomicFile)(nil)

// CreateAtomic starts a file that is to be at path, and that lies beside it under a temporary name until Commit. A file that is there already
// keeps its permissions; a new one gets 0666 less the umask. A symbolic link stays, its target is replaced. What isn't a
// regular file, such as /dev/stdout, can't be replaced and is written to directly. The caller calls Commit or Abort.
func CreateAtomic(path string) (*AtomicFile, error) {
	a := &AtomicFile{path: path, target: path}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("create %s: %w", path, syscall.EISDIR)
	case err == nil && !info.Mode().IsRegular():
		if a.file, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", path, cause(err))
		}
		return a, nil
	case err == nil:
		if a.target, err = filepath.EvalSymlinks(path); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, cause(err))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	if a.file, err = createTemp(filepath.Dir(a.target)); err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	a.temp = a.file.Name()
	if info != nil {
		if err := a.file.Chmod(info.Mode().Perm()); err != nil {
			a.Abort()
			return nil, fmt.Errorf("create %s: set permissions: %w", path, cause(err))
		}
	}
	return a, nil
}

// Write adds to the file.
func (a *AtomicFile) Write(p []byte) (int, error) {
	n, err := a.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", a.path, cause(err))
	}
	return n, nil
}

// Commit makes the file durable and gives it its name. After an error there is nothing, as after Abort.
func (a *AtomicFile) Commit() error {
	if a.done {
		return fmt.Errorf("commit %s: %w", a.path, fs.ErrClosed)
	}
	if a.temp == "" {
		a.done = true
		return wrap("close "+a.path, cause(a.file.Close()))
	}
	defer a.Abort()
	if err := syncFile(a.file); err != nil {
		return fmt.Errorf("sync %s: %w", a.path, cause(err))
	}
	if err := a.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", a.path, cause(err))
	}
	if err := os.Rename(a.temp, a.target); err != nil {
		return fmt.Errorf("create %s: %w", a.path, cause(err))
	}
	a.done = true
	syncDir(filepath.Dir(a.target))
	return nil
}

// Abort removes the file. After Commit it does nothing, so that it can be deferred.
func (a *AtomicFile) Abort() {
	if a.done {
		return
	}
	a.done = true
	// Errors don't matter: the content is unwanted, and the reason for that is the error the user sees.
	_ = a.file.Close()
	if a.temp != "" {
		_ = os.Remove(a.temp)
	}
}

// WriteFileAtomic is CreateAtomic, one write of data, and Commit.
func WriteFileAtomic(path string, data []byte) error {
	a, err := CreateAtomic(path)
	if err != nil {
		return err
	}
	defer a.Abort()
	if _, err := a.Write(data); err != nil {
		return err
	}
	return a.Commit()
}

// tempName is a name that is new in any directory. It doesn't contain the destination's, which may be as long as names can be.
func tempName() string { return tempPrefix + strconv.FormatUint(rand.Uint64(), 36) + tempSuffix }

func isTempName(s string) bool {
	return strings.HasPrefix(s, tempPrefix) && strings.HasSuffix(s, tempSuffix)
}

// createTemp is os.CreateTemp with the permissions that the umask leaves, since the file is to stay.
func createTemp(dir string) (*os.File, error) {
	for {
		f, err := os.OpenFile(filepath.Join(dir, tempName()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// mkdirTemp makes a directory with the permissions that the umask leaves.
func mkdirTemp(dir string) (string, error) {
	for {
		name := filepath.Join(dir, tempName())
		err := os.Mkdir(name, 0o777)
		if err == nil {
			return name, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
}

// syncFile is fsync where the file system has it.
func syncFile(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// syncDir makes a rename in the directory durable, if it can: a directory may be writable and not readable. What was renamed is
// whole in any case, so that an error here doesn't undo it.
func syncDir(path string) {
	d, err := os.Open(path)
	if err != nil {
		return
	}
	_ = syncFile(d)
	_ = d.Close()
}

// cause takes the operation and the temporary name off an error, which say nothing to the user.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

// wrap is fmt.Errorf("what: %w", err) that leaves nil alone.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
