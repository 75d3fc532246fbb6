package uses

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cooperbuild/cooper/internal/flock"
)

// buildsDir has a file for each build, which the build locks while it runs. The file's modification time is when the
// build began.
const buildsDir = "builds"

// Begin records that a build begins: things that are used from now on aren't removed until end is called or the process
// ends. It is called once for a build, before the build uses the store.
func (l *Ledger) Begin(ctx context.Context) (end func() error, err error) {
	var f *os.File
	err = l.WhileUsing(ctx, func() error {
		dir := filepath.Join(l.dir, buildsDir)
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			f, err = os.CreateTemp(dir, "")
		}
		if err != nil {
			return err
		}
		began := time.Now()
		l.mu.Lock()
		l.began = began
		l.mu.Unlock()
		err = flock.Lock(ctx, f, flock.Exclusive)
		return errors.Join(err, os.Chtimes(f.Name(), began, began))
	})
	if err != nil {
		return nil, fmt.Errorf("note that a build runs: %w", err)
	}
	return func() error { return errors.Join(os.Remove(f.Name()), f.Close()) }, nil
}

func (l *Ledger) begun() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.began
}

// Oldest gives the time at which the oldest running build began, or a future time if none runs: things that were used
// since then are in use. It must be called inside WhileDeciding, since the file of a build that is just beginning looks
// for a moment like that of one that has ended.
func (l *Ledger) Oldest() (time.Time, error) {
	oldest := time.Now().Add(time.Hour)
	err := EachLive(filepath.Join(l.dir, buildsDir), func(_ string, f *os.File) error {
		info, err := f.Stat()
		if err == nil && info.ModTime().Before(oldest) {
			oldest = info.ModTime()
		}
		return err
	})
	if err != nil {
		return oldest, fmt.Errorf("look for running builds: %w", err)
	}
	return oldest, nil
}

// OldestBuild calls Oldest inside WhileDeciding.
func (l *Ledger) OldestBuild(ctx context.Context) (oldest time.Time, err error) {
	err = l.WhileDeciding(ctx, func() (err error) {
		oldest, err = l.Oldest()
		return err
	})
	return oldest, err
}

// Unused tells whether no running build may use a thing. It must be called inside WhileDeciding.
func (l *Ledger) Unused(t Thing) (bool, error) {
	oldest, err := l.Oldest()
	return err == nil && l.LastUse(t).Before(oldest), err
}

// SweepBuilds removes the files of builds that were killed, unless another process holds the lock of uses just now. If
// there were such builds it calls after, still holding the lock.
func (l *Ledger) SweepBuilds(after func() error) error {
	lock, err := os.OpenFile(filepath.Join(l.dir, notesLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock uses: %w", err)
	}
	free, err := flock.Try(lock, flock.Exclusive)
	if err != nil || !free {
		return errors.Join(err, lock.Close())
	}
	before, err := countBuilds(l.dir)
	if err == nil && before > 0 {
		_, err = l.Oldest()
	}
	if left, readErr := countBuilds(l.dir); err == nil && left < before {
		err = errors.Join(readErr, after())
	}
	return errors.Join(err, lock.Close())
}

// countBuilds counts the files of builds, live or dead, below cooper's own directory.
func countBuilds(own string) (int, error) {
	entries, err := os.ReadDir(filepath.Join(own, buildsDir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return len(entries), err
}

// EachLive calls live for the files of a directory that a process has locked, and removes the other files. No process
// may make a file there meanwhile, since until it is locked it looks like one of a process that has ended.
func EachLive(dir string, live func(name string, f *os.File) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	var errs []error
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // its owner removed it meanwhile
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		switch free, err := flock.Try(f, flock.Exclusive); {
		case err != nil:
			errs = append(errs, err)
		case !free:
			errs = append(errs, live(e.Name(), f))
		default:
			if err := os.Remove(f.Name()); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		errs = append(errs, f.Close())
	}

	return errors.Join(errs...)
}
