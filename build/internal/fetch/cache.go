package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/internal/patience"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// The directories of a cache. Each entry is a directory: the lock is on it, and its mtime is the last use of the entry.
const (
	filesDir = "files" // KEY/NAME: a downloaded file
	sumsDir  = "sums"  // ALGORITHM-HEX: which file has this checksum
	urlsDir  = "urls"  // KEY/meta.json: what a URL gave last
	reposDir = "repos" // KEY/repo.git: the objects of a repository
	treesDir = "trees" // KEY/tree: the tree of a commit
	blobsDir = "blobs" // ALGORITHM-HEX/blob: a compressed layer
	tmpDir   = "tmp"   // files and trees that aren't whole yet
)

// blobFile is the name of the file in each entry of blobsDir.
const blobFile = "blob"

// Sources is a directory of files, repositories and compressed layers.
type Sources struct {
	dir string
	// limits say how slow a transfer may be before it is given up; the function now is the clock for that.
	limits patience.Limits
	now    func() time.Time
	// git is the name or path of the git program.
	git string
}

// Open opens the cache in a directory, which is made if it isn't there, and removes what killed processes left.
func Open(dir string) (*Sources, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache of remote sources: %w", err)
	}
	for _, sub := range []string{filesDir, sumsDir, urlsDir, reposDir, treesDir, blobsDir, tmpDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open cache of remote sources: %w", err)
		}
	}
	c := &Sources{dir: dir, limits: patience.Usual(), now: time.Now, git: "git"}
	if err := c.trimDir(tmpDir, time.Now()); err != nil {
		return nil, fmt.Errorf("open cache of remote sources: %w", err)
	}
	return c, nil
}

// Trim removes the entries that nobody has used since the time unused and that nobody holds now.
func (c *Sources) Trim(unused time.Time) error {
	var errs []error
	for _, sub := range []string{tmpDir, filesDir, urlsDir, treesDir, reposDir, blobsDir} {
		errs = append(errs, c.trimDir(sub, unused))
	}
	errs = append(errs, c.trimSums())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("trim cache of remote sources: %w", err)
	}
	return nil
}

func (c *Sources) trimDir(sub string, unused time.Time) error {
	entries, err := os.ReadDir(filepath.Join(c.dir, sub))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(c.dir, sub, e.Name())
		info, err := e.Info()
		if err != nil || info.ModTime().After(unused) {
			continue // it is gone, or in use
		}
		_, err = c.remove(path, unused)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// remove removes an entry unless somebody holds it or has used it since, and tells whether it is gone.
func (c *Sources) remove(path string, unused time.Time) (gone bool, err error) {
	f, err := flock.TryExisting(path, flock.Exclusive)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil || f == nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.ModTime().After(unused) {
		return false, err
	}
	if filepath.Dir(path) == filepath.Join(c.dir, tmpDir) {
		return true, os.RemoveAll(path)
	}
	// The entry must be under its name as a whole or not at all, so it is renamed before its files are removed.
	dir, empty, err := c.temp()
	if err != nil {
		return false, err
	}
	err = os.Rename(path, filepath.Join(dir, "trash"))
	return err == nil, errors.Join(err, empty())
}

// trimSums removes the checksums whose files are gone.
func (c *Sources) trimSums() error {
	entries, err := os.ReadDir(filepath.Join(c.dir, sumsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(c.dir, sumsDir, e.Name())
		var m meta
		if readJSON(path, &m) == nil {
			if _, err := os.Lstat(m.path(c)); err == nil {
				continue
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// entry is the path of an entry.
func (c *Sources) entry(sub, key string) string { return filepath.Join(c.dir, sub, key) }

// hold keeps an entry from being removed until the hold is released, and notes the use. The error is fs.ErrNotExist if
// there is no such entry.
func (c *Sources) hold(ctx context.Context, path string) (*hold, error) {
	f, err := flock.Existing(ctx, path, flock.Shared)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &hold{f: f}, nil
}

// own makes an entry if there is none, and keeps all other processes from using it until the hold is released.
func (c *Sources) own(ctx context.Context, path string) (*hold, error) {
	for {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := flock.Existing(ctx, path, flock.Exclusive)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Trim has removed the entry before it was locked
		}
		if err != nil {
			return nil, err
		}
		now := time.Now()
		return &hold{f: f}, os.Chtimes(path, now, now)
	}
}

// temp makes a directory that is removed by the function it returns, or by another process if this one is killed. What
// has been renamed out of it stays.
func (c *Sources) temp() (dir string, remove func() error, err error) {
	for {
		dir, err = os.MkdirTemp(filepath.Join(c.dir, tmpDir), "")
		if err != nil {
			return "", nil, err
		}
		f, err := flock.TryExisting(dir, flock.Exclusive)
		if f == nil && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			continue // another process has taken it for one that was left behind
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		return dir, func() error { return errors.Join(os.RemoveAll(dir), f.Close()) }, nil
	}
}

// publish syncs a finished directory to the disk and renames it to path: in a power cut names outlive files that
// weren't synced. Where another process has published the entry first, that one stays, since both have the same
// content. Either way the entry counts as used now.
func (c *Sources) publish(ctx context.Context, dir, path string) error {
	if err := fsys.SyncFSAt(dir); err != nil {
		return err
	}
	return c.place(ctx, dir, path)
}

// place is publish without the sync, for entries that are verified whenever they are used.
func (c *Sources) place(ctx context.Context, dir, path string) error {
	for {
		now := time.Now()
		err := os.Chtimes(dir, now, now)
		if err == nil {
			err = os.Rename(dir, path)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		h, err := c.hold(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has just removed the entry
		}
		if err != nil {
			return err
		}
		return h.release()
	}
}

// key names an entry by a hash of its parts, so that no secret in them can be read from the name.
func key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// writeJSON replaces a file as a whole. It writes below tmpDir first, which is cleaned up after processes that were
// killed.
func (c *Sources) writeJSON(path string, v any) (err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir, remove, err := c.temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return fsys.Replace(path, raw, fsys.ReplaceOptions{TempDir: dir})
}

// oneLine makes what a server or program said fit into an error.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)), " ")
}
