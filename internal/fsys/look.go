package fsys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Exists tells whether something has the path, be it a link that leads nowhere.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Subdirs are the directories in one, which is none of them if it isn't there or is a symbolic link: what a link leads
// to is somebody else's.
func Subdirs(path string) (names []string, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// RemoveFiles removes files that may not be there.
func RemoveFiles(paths ...string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// RemoveContents removes all that is in a directory, and leaves the directory itself: others have it open or locked, or
// know it by its attributes. Links in it are removed, and what they lead to stays.
func RemoveContents(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
