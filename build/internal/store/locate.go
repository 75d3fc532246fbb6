package store

import (
	"errors"
	"os"
	"strings"
)

// Location names a store's directories and driver. Driver "" leaves the choice to containers/storage.
type Location struct {
	Root, RunRoot, Driver string
	// Instead says why Root is not the system's store, for root of a container; "" if it is, or for other users.
	Instead string
}

// Locate finds the directories of a store as [Open] would, without opening or making anything.
func Locate(o Options) (Location, error) {
	opts, err := defaults(o)
	if err != nil {
		return Location{}, err
	}
	at := Location{Root: opts.GraphRoot, RunRoot: opts.RunRoot, Driver: opts.GraphDriverName}
	if o.Root == "" && at.Root != systemRoot && lesserRoot() {
		at.Instead, _ = noSystemStore()
	}
	return at, nil
}

// Exists tells whether a store has a directory, be it one that can't be read.
func Exists(o Options) (bool, error) {
	at, err := Locate(o)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(at.Root)
	return !errors.Is(err, os.ErrNotExist), nil
}

// Dirs gives the directories of a store and of its additional stores, by the options alone.
func Dirs(o Options) ([]string, error) {
	opts, err := defaults(o)
	if err != nil {
		return nil, err
	}
	dirs := []string{opts.GraphRoot}
	if opts.ImageStore != "" {
		dirs = append(dirs, opts.ImageStore)
	}
	for _, option := range opts.GraphDriverOptions {
		if _, dir, ok := strings.Cut(option, "imagestore="); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}
