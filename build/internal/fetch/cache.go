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

// The directories of a cache. Each entry is a directory, which is what is locked, and whose mtime is its last use.
const (
	filesDir = "files" // KEY/NAME: a downloaded file
	sumsDir  = "sums"  // ALGORITHM-HEX: which file has this checksum
	urlsDir  = "urls"  // KEY/meta.json: what a URL gave last
	reposDir = "repos" // KEY/repo.git: the objects of a repository
	treesDir = "trees" // KEY/tree: the tree of a commit
	blobsDir = "blobs" // ALGORITHM-HEX/blob: a compressed layer
	tmpDir   = "tmp"   // what isn't whole yet
)

// blobFile is the file of an entry in blobsDir.
const blobFile = "blob"

// Sources is a directory of files, repositories and compressed layers.
type Sources struct {
	dir string
	// limits say when a transfer is given up, by the clock now.
	limits patience.Limits
	now    func() time.Time
	// git is the git program.
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

// Trim removes what nobody has used since a time and nobody holds now.
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
	// Under its old name it must be there as a whole or not at all.
	dir, empty, err := c.temp()
	if err != nil {
		return false, err
	}
	err = os.Rename(path, filepath.Join(dir, "trash"))
	return err == nil, errors.Join(err, empty())
}

// trimSums removes the names of files that are gone.
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

// hold keeps an entry, fs.ErrNotExist if there is none, and notes that it was used.
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

// own makes an entry if there is none, and keeps others from it until the hold is released.
func (c *Sources) own(ctx context.Context, path string) (*hold, error) {
	for {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := flock.Existing(ctx, path, flock.Exclusive)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Trim was faster
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

// publish gives a whole directory its name, unless another process was faster: both hold the same. Either way it has
// just been used. What has its name is on the disk: in a power cut names outlive files.
func (c *Sources) publish(ctx context.Context, dir, path string) error {
	if err := fsys.SyncFSAt(dir); err != nil {
		return err
	}
	return c.place(ctx, dir, path)
}

// place is publish for what needs not be on the disk.
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
			continue // it has just been removed
		}
		if err != nil {
			return err
		}
		return h.release()
	}
}

// key names an entry by what it is made of. What goes in can't be read from it.
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

// writeJSON replaces a file as a whole. Until then it is where a killed process leaves nothing behind.
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
