package shelf

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
	"time"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// ErrChecksum says that content doesn't have the requested checksum.
var ErrChecksum = errors.New("the checksum does not match")

// Kind is what an entry is: the directory that it lies in.
type Kind string

// The kinds of entries. Each entry is a directory: the lock is on it, and its mtime is the last use of the entry. Sums
// alone has files.
const (
	Files Kind = "files" // KEY/NAME: a downloaded file
	Sums  Kind = "sums"  // ALGORITHM-HEX: which file has this checksum
	URLs  Kind = "urls"  // KEY/meta.json: what a URL gave last
	Repos Kind = "repos" // KEY/repo.git: the objects of a repository
	Trees Kind = "trees" // KEY/tree: the tree of a commit
	Blobs Kind = "blobs" // ALGORITHM-HEX/blob: a compressed layer
	Temps Kind = "tmp"   // files and trees that aren't whole yet
)

// Dir is a directory of entries, which any number of processes use at the same time.
type Dir struct{ path string }

// At is the directory at a path, which need not be there. What it holds can be listed; [Open] opens it for more.
func At(path string) *Dir { return &Dir{path} }

// Path is the absolute path of an open directory.
func (d *Dir) Path() string { return d.path }

// Open opens a directory, which is made if it isn't there, and removes what killed processes left.
func Open(dir string) (*Dir, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open remote sources: %w", err)
	}
	for _, sub := range []Kind{Files, Sums, URLs, Repos, Trees, Blobs, Temps} {
		if err := os.MkdirAll(filepath.Join(dir, string(sub)), 0o700); err != nil {
			return nil, fmt.Errorf("open remote sources: %w", err)
		}
	}
	d := At(dir)
	if err := d.removeOld(Temps, time.Now()); err != nil {
		return nil, fmt.Errorf("open remote sources: %w", err)
	}
	return d, nil
}

// Trim removes the entries of every kind that nobody has used since the time unused and that nobody holds now.
func (d *Dir) Trim(unused time.Time) error {
	var errs []error
	for _, sub := range []Kind{Temps, Files, URLs, Trees, Repos, Blobs} {
		errs = append(errs, d.removeOld(sub, unused))
	}
	return errors.Join(errs...)
}

// removeOld removes the entries of a kind that nobody has used since the time unused and that nobody holds now.
func (d *Dir) removeOld(sub Kind, unused time.Time) error {
	entries, err := os.ReadDir(filepath.Join(d.path, string(sub)))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(d.path, string(sub), e.Name())
		info, err := e.Info()
		if err != nil || info.ModTime().After(unused) {
			continue // it is gone, or in use
		}
		_, err = d.Remove(path, unused)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Remove removes an entry unless somebody holds it or has used it since, and tells whether it is gone.
func (d *Dir) Remove(path string, unused time.Time) (gone bool, err error) {
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
	if filepath.Dir(path) == filepath.Join(d.path, string(Temps)) {
		return true, os.RemoveAll(path)
	}
	// The entry must be under its name as a whole or not at all, so it is renamed before its files are removed.
	dir, empty, err := d.Temp()
	if err != nil {
		return false, err
	}
	err = os.Rename(path, filepath.Join(dir, "trash"))
	return err == nil, errors.Join(err, empty())
}

// Entry is the path of an entry.
func (d *Dir) Entry(sub Kind, key string) string {
	return filepath.Join(d.path, string(sub), key)
}

// Hold keeps an entry from being removed until the hold is released, and notes the use. The error is fs.ErrNotExist if
// there is no such entry.
func (d *Dir) Hold(ctx context.Context, path string) (*Hold, error) {
	f, err := flock.Existing(ctx, path, flock.Shared)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Hold{f: f}, nil
}

// Own makes an entry if there is none, and keeps all other processes from using it until the hold is released.
func (d *Dir) Own(ctx context.Context, path string) (*Hold, error) {
	for {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err := flock.Existing(ctx, path, flock.Exclusive)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has removed the entry before it was locked
		}
		if err != nil {
			return nil, err
		}
		now := time.Now()
		return &Hold{f: f}, os.Chtimes(path, now, now)
	}
}

// Temp makes a directory that is removed by the function it returns, or by another process if this one is killed. What
// has been renamed out of it stays.
func (d *Dir) Temp() (dir string, remove func() error, err error) {
	for {
		dir, err = os.MkdirTemp(filepath.Join(d.path, string(Temps)), "")
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

// Publish syncs a finished directory to the disk and renames it to path: in a power cut names outlive files that
// weren't synced. Where another process has published the entry first, that one stays, since both have the same
// content. Either way the entry counts as used now.
func (d *Dir) Publish(ctx context.Context, dir, path string) error {
	if err := fsys.SyncFSAt(dir); err != nil {
		return err
	}
	return d.Place(ctx, dir, path)
}

// Place is Publish without the sync, for entries that are verified whenever they are used.
func (d *Dir) Place(ctx context.Context, dir, path string) error {
	for {
		now := time.Now()
		err := os.Chtimes(dir, now, now)
		if err == nil {
			err = os.Rename(dir, path)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		h, err := d.Hold(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has just removed the entry
		}
		if err != nil {
			return err
		}
		return h.Release()
	}
}

// Key names an entry by a hash of its parts, so that no secret in them can be read from the name.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ReadJSON reads what WriteJSON has written.
func ReadJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// WriteJSON replaces a file as a whole. It writes below Temps first, which is cleaned up after processes that were
// killed.
func (d *Dir) WriteJSON(path string, v any) (err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir, remove, err := d.Temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return fsys.Replace(path, raw, fsys.ReplaceOptions{TempDir: dir})
}
