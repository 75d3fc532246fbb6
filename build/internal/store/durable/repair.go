package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Repair mends what the library can't be opened with after a crash, or what it would do harm with: it runs before the
// library does. It returns the paths to which it has moved lists that can't be read.
func Repair(root string) (aside []string, err error) {
	same, err := sameUptime(root)
	if err != nil || same {
		return nil, err
	}
	if err := repairLinks(filepath.Join(root, "overlay")); err != nil {
		return nil, fmt.Errorf("repair links: %w", err)
	}
	return setAside(root)
}

// sameUptime tells whether there is nothing to repair: the store was mended since its file system was mounted, or
// cooper never used it.
func sameUptime(root string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(root, ownDir, syncedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	dir, err := os.Open(root)
	if err != nil {
		return false, err
	}
	var n syncedNote
	same := json.Unmarshal(text, &n) == nil && n.Uptime == uptimeOf(dir)
	return same, dir.Close()
}

// setAside renames lists of the library that can't be read, since the library would refuse the whole store. Lists of
// what doesn't outlive a crash, which the library writes without a sync, are removed.
func setAside(root string) (aside []string, err error) {
	lists, err := filepath.Glob(filepath.Join(root, "*-*", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range lists {
		text, err := os.ReadFile(path)
		var list []json.RawMessage
		if err == nil && json.Unmarshal(text, &list) == nil {
			continue
		}
		if err == nil && strings.HasPrefix(filepath.Base(path), "volatile-") {
			err = os.Remove(path)
		} else if err == nil {
			aside = append(aside, path+".damaged")
			err = os.Rename(path, path+".damaged")
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // ErrNotExist: another process repairs at the same time
			return aside, err
		}
	}
	return aside, nil
}

// written is the age from which on an empty link file counts as lost: a younger one may be just being written or
// removed.
const written = 200 * time.Millisecond

// repairLinks removes the files of overlay layers that name a link and are empty: with such a layer the library removes
// the directory of all links, and no layer of the store can be mounted any more. Links that are gone are made again.
func repairLinks(home string) error {
	names, err := filepath.Glob(filepath.Join(home, "*", "link"))
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < written {
			continue // it is being removed or written
		}
		if err != nil {
			return err
		}
		link, err := os.ReadFile(name)
		if err == nil {
			err = repairLink(home, name, string(link))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// repairLink does what repairLinks does for one layer: home is the driver's directory, file the layer's link file, and
// link a link that leads to the layer.
func repairLink(home, file, link string) error {
	const length = 26
	if len(link) != length || link != filepath.Base(link) || strings.ContainsRune(link, 0) {
		return os.Remove(file)
	}
	links := filepath.Join(home, "l")
	to := filepath.Join("..", filepath.Base(filepath.Dir(file)), "diff")
	err := os.Symlink(to, filepath.Join(links, link))
	if errors.Is(err, fs.ErrNotExist) {
		// Another process may make both at the same time.
		if err = os.Mkdir(links, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			err = os.Symlink(to, filepath.Join(links, link))
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
