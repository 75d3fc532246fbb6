package fsys

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TempPrefix begins the names of files that Replace has not finished. A process that is killed leaves one behind:
// whoever owns the directory removes old ones, by RemoveUnfinished or in a listing of its own.
const TempPrefix = ".new-"

// ReplaceOptions say how Replace writes. The zero value makes a file of mode 0600 that is not synced.
type ReplaceOptions struct {
	// Sync makes the data durable before the name is. The name itself is durable after a sync of the directory or the file
	// system.
	Sync bool
	// MakeDirs makes the directories above the new file, with mode 0700, if they are missing.
	MakeDirs bool
	// TempDir is the directory in which the new file is made until it is whole, on the same file system; empty: beside the
	// file.
	TempDir string
	// Modified is the file's modification time; zero: now.
	Modified time.Time
}

// Replace makes data the content of the file at path, in place of what is there: others see the old file or the new
// one, whole. The directory must be the caller's own, since names in it are trusted.
func Replace(path string, data []byte, o ReplaceOptions) error {
	dir := cmp.Or(o.TempDir, filepath.Dir(path))
	f, err := os.CreateTemp(dir, TempPrefix)
	if errors.Is(err, fs.ErrNotExist) && o.MakeDirs {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			f, err = os.CreateTemp(dir, TempPrefix)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && o.Sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil && !o.Modified.IsZero() {
		err = os.Chtimes(f.Name(), o.Modified, o.Modified)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// RemoveUnfinished removes from a directory the files of calls of Replace that were killed: those that nobody has
// written to for the given time.
func RemoveUnfinished(dir string, after time.Duration) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), TempPrefix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > after {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if !errors.Is(err, fs.ErrNotExist) { // another process may be faster
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
