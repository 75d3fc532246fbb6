package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// ErrMachine is what errors wrap that are the machine's fault and not the build's, in all packages.
var ErrMachine = errors.New("this machine can't do it")

// UnusableError says that a disk can't take what has to be written to it, fails, or that there is a limit on open
// files. It is the machine's fault and not the build's.
type UnusableError struct {
	// What says what is wrong, Hint the remedy.
	What, Hint string
	// cause is the error that showed it, for errors.As.
	cause error
}

func (e *UnusableError) Error() string { return e.What + "\nhint: " + e.Hint }

func (e *UnusableError) Unwrap() error { return e.cause }

// diskErrors gives the errors by which a disk refuses writes.
func diskErrors() []unix.Errno { return []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS} }

// DiskRefuses tells whether an error wraps one of those errnos.
func DiskRefuses(err error) bool {
	return slices.ContainsFunc(diskErrors(), func(reason unix.Errno) bool { return errors.Is(err, reason) })
}

// Unusable turns an error that is due to a disk which refuses writes, the store's or another, into an *UnusableError.
// Other errors are returned as they are.
func (s *Store) Unusable(err error) error {
	return unusable(err, storeDirs{store: s.paths.Root, run: s.library.RunRoot()})
}

// storeDirs are the directories that a store is in.
type storeDirs struct{ store, run string }

func dirsOf(o storage.StoreOptions) storeDirs { return storeDirs{store: o.GraphRoot, run: o.RunRoot} }

func unusable(err error, p storeDirs) error {
	if done := new(UnusableError); err == nil || errors.As(err, &done) {
		return err
	}
	if broken := new(library.BrokenError); errors.As(err, &broken) || errors.Is(err, unix.EIO) ||
		errors.Is(err, unix.EMFILE) ||
		errors.Is(err, unix.ENFILE) {
		return &UnusableError{What: err.Error(), Hint: p.brokenHint(err), cause: err}
	}

	path := pathOf(err)
	for _, reason := range diskErrors() {
		switch {
		case path != "" && errors.Is(err, reason):
			return p.error(err, reason, existing(filepath.Dir(path)))
		// of an error in a child process of the library only the text is left
		case !strings.Contains(err.Error(), reason.Error()):
			continue
		}
		if dir := p.suffering(reason); dir != "" {
			return p.error(err, reason, dir)
		}
		// The disk may have space again, because the files that didn't fit were removed.
		if errors.Is(err, reason) && !aboutNamespaces(err) || strings.Contains(err.Error(), "exit status 1; output: ") {
			return p.error(err, reason, existing(p.store))
		}
	}

	return err
}

// brokenHint gives the remedy for a disk that fails, or for a failure of the library.
func (p storeDirs) brokenHint(err error) string {
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "ulimit -n lets a process open more files; --jobs does less at a time"
	case errors.Is(err, unix.EIO):
		return "a disk fails, or has been taken away: the kernel's log (dmesg) says more; when it is back, the store is mended before it is used"
	}
	return "build again; --root chooses another store than " + p.store
}

// aboutNamespaces tells whether an error may be due to a limit on namespaces or mounts, which give ENOSPC as well.
func aboutNamespaces(err error) bool {
	return slices.ContainsFunc([]string{"clone: ", "mount", "namespace"},
		func(s string) bool { return strings.Contains(err.Error(), s) })
}

// pathOf gives the absolute path that an error is about; "" if it has none.
func pathOf(err error) string {
	if at := new(fs.PathError); errors.As(err, &at) && filepath.IsAbs(at.Path) && !strings.HasPrefix(at.Path, "/proc/") {
		return at.Path
	}
	if at := new(os.LinkError); errors.As(err, &at) && filepath.IsAbs(at.New) {
		return at.New
	}
	return ""
}

// suffering gives the directory, among those that builds write to, on whose disk a write would give the error reason
// now; "" if there is none.
func (p storeDirs) suffering(reason unix.Errno) string {
	for _, dir := range []string{p.store, p.run, os.TempDir()} {
		var st unix.Statfs_t
		dir = existing(dir)
		if unix.Statfs(dir, &st) != nil {
			continue
		}
		switch {
		case reason == unix.ENOSPC && nearlyFull(&st), reason == unix.EROFS && st.Flags&unix.ST_RDONLY != 0,
			reason == unix.EDQUOT:
			return dir
		}
	}
	return ""
}

// Exhausted says why the store's disk refuses writes at this moment; nil if it doesn't. It looks at the free space and
// tries a write.
func (s *Store) Exhausted() *UnusableError {
	p := storeDirs{store: s.paths.Root, run: s.library.RunRoot()}
	var st unix.Statfs_t
	if unix.Statfs(p.store, &st) == nil && nearlyFull(&st) {
		return p.exhausted(unix.ENOSPC)
	}
	// Only a write shows that a quota is used up.
	f, err := s.parts.Scratch.File()
	if err == nil {
		const some = 1 << 20
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, some), f.Close())
	}
	for _, reason := range diskErrors() {
		if errors.Is(err, reason) {
			return p.exhausted(reason)
		}
	}
	return nil
}

func (p storeDirs) exhausted(reason unix.Errno) *UnusableError {
	full := new(UnusableError)
	if errors.As(p.error(reason, reason, p.store), &full) {
		return full
	}
	return nil
}

// plenty is the number of free bytes from which on a full disk's error is taken for one about inodes. Either may have
// become free again when files were removed.
const plenty = 4 << 20

// nearlyFull tells whether a disk has so little left that a write may have failed.
func nearlyFull(st *unix.Statfs_t) bool {
	const bytes, files = 16 << 20, 16 // a large write fails with some left
	return int64(st.Bavail)*st.Bsize < bytes || st.Files > 0 && st.Ffree < files
}

func (p storeDirs) error(err error, reason unix.Errno, dir string) error {
	if !sameDisk(dir, p.store) {
		return &UnusableError{What: err.Error(), Hint: "the disk that holds " + dir +
			" can't take it; choose another directory", cause: err}
	}
	e := &UnusableError{
		What: "the disk that holds " + p.store + " is full", cause: err,
		Hint: "cooper prune removes what only the build cache needs; --root chooses a directory on another disk",
	}
	var st unix.Statfs_t
	switch {
	case reason == unix.EDQUOT:
		e.What = "the user's quota is used up on the disk that holds " + p.store
	case reason == unix.EROFS:
		e.What = "the disk that holds " + p.store + " is mounted read-only"
		e.Hint = "--root and --runroot choose other directories"
	case reason == unix.ENOSPC && unix.Statfs(dir, &st) == nil && st.Files > 0 && int64(st.Bavail)*st.Bsize > plenty:
		e.What += ", or has no inodes left"
	}
	return e
}

// existing gives the directory, or its nearest parent that exists.
func existing(dir string) string {
	for !fsys.Exists(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	return dir
}

func sameDisk(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(existing(a), &x) == nil && unix.Stat(existing(b), &y) == nil && x.Dev == y.Dev
}
