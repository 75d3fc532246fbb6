package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tiny mounts a file system of a few pages, and of a few inodes, in a mount namespace that ends with the test's
// process.
func tiny(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes to a file of a directory until the disk refuses.
func fill(t *testing.T, dir string) error {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for buf := make([]byte, 4096); err == nil; {
		_, err = f.Write(buf)
	}
	return err
}

// TestErrorsOfADiskNameItAndTheRemedy turns what a write gives into what people are told, by the disk it was on.
func TestErrorsOfADiskNameItAndTheRemedy(t *testing.T) {
	full := tiny(t, "size=64k")
	other := t.TempDir()
	refused := fill(t, full)
	at := func(path string, err error) error { return &fs.PathError{Op: "write", Path: path, Err: err} }
	for name, test := range map[string]struct {
		err  error
		in   storeDirs
		want string // the beginning of what is said; "": the error stays as it is
	}{
		"the store's disk": {refused, storeDirs{full, other}, "the disk that holds " + full + " is full"},
		"another one":      {refused, storeDirs{other, other}, refused.Error() + "\nhint: the disk that holds " + full},
		"a name that is gone": {at(full+"/a/b/c", unix.ENOSPC), storeDirs{full, other}, "the disk that holds " + full +
			" is full"},
		"a link": {&os.LinkError{Op: "link", Old: "/x", New: full + "/y", Err: unix.ENOSPC},
			storeDirs{full, other}, "the disk that holds " + full},
		"a quota": {at(full+"/a", unix.EDQUOT), storeDirs{full, other},
			"the user's quota is used up on the disk that holds " + full},
		"a disk to be read": {at(full+"/a", unix.EROFS), storeDirs{full, other}, "the disk that holds " + full +
			" is mounted read-only"},
		"the text of a child": {errors.New("exit status 1; output: write x: no space left on device"),
			storeDirs{full, other}, "the disk that holds " + full + " is full"},
		"the same, there is room": {errors.New("exit status 1; output: write x: no space left on device"),
			storeDirs{other, other}, "the disk that holds " + other + " is full"},
		"a limit on mounts": {fmt.Errorf("mount overlay: %w", unix.ENOSPC), storeDirs{other, other}, ""},
		"no path, there is room": {fmt.Errorf("write it: %w", unix.ENOSPC), storeDirs{other, other}, "the disk that holds " +
			other + " is full"},
		"a broken disk": {at(full+"/a", unix.EIO), storeDirs{full, other},
			"write " + full + "/a: input/output error\nhint: a disk fails"},
		"too many files": {at(full+"/a", unix.EMFILE), storeDirs{full, other},
			"write " + full + "/a: too many open files\nhint: ulimit -n"},
		"what isn't the disk's":   {io.ErrUnexpectedEOF, storeDirs{full, other}, ""},
		"a right that is missing": {at(full+"/a", unix.EACCES), storeDirs{full, other}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := unusable(test.err, test.in)
			u := new(UnusableError)
			if test.want == "" {
				if !errors.Is(got, test.err) || errors.As(got, &u) {
					t.Errorf("got %v", got)
				}
				return
			}
			if !errors.As(got, &u) || !strings.HasPrefix(got.Error(), test.want) || u.Hint == "" {
				t.Fatalf("got %v\nwant %s", got, test.want)
			}
			if !errors.Is(got, test.err) {
				t.Error("the cause is lost")
			}
			if again := unusable(fmt.Errorf("build: %w", got), test.in); strings.Count(again.Error(), "hint:") != 1 {
				t.Errorf("what was told is told again: %v", again)
			}
		})
	}
	if unusable(nil, storeDirs{full, other}) != nil {
		t.Error("no error is one")
	}
}

// TestADiskWithoutInodesIsToldFromOneWithoutSpace by what it has left.
func TestADiskWithoutInodesIsToldFromOneWithoutSpace(t *testing.T) {
	dir := tiny(t, "size=32m,nr_inodes=8")
	var err error
	for n := 0; err == nil; n++ {
		err = os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600)
	}
	got := unusable(err, storeDirs{dir, t.TempDir()})
	if u := new(UnusableError); !errors.As(got, &u) || !strings.HasSuffix(u.What, "is full, or has no inodes left") {
		t.Errorf("got %v", got)
	}
	for _, refuses := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, fmt.Errorf("x: %w", err)} {
		if !DiskRefuses(refuses) {
			t.Errorf("%v is not for want of room", refuses)
		}
	}
	if DiskRefuses(unix.EACCES) || DiskRefuses(nil) {
		t.Error("every error is for want of room")
	}
}

// TestAFullStoreIsSeenByAWrite opens one on a disk that is then filled.
func TestAFullStoreIsSeenByAWrite(t *testing.T) {
	dir := tiny(t, "size=64m")
	s, err := Open(t.Context(), Options{Root: dir, Driver: "vfs"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if full := s.Exhausted(); full != nil {
		t.Errorf("an empty disk: %v", full)
	}
	if err := fill(t, dir); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if full := s.Exhausted(); full == nil || !strings.HasPrefix(full.What, "the disk that holds "+dir) {
		t.Errorf("a full disk: %v", full)
	}
	if err := s.Unusable(fmt.Errorf("write it: %w", unix.ENOSPC)); !strings.Contains(err.Error(), "is full") {
		t.Errorf("an error that names no path: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "full")); err != nil {
		t.Fatal(err)
	}
	if full := s.Exhausted(); full != nil {
		t.Errorf("a disk that was given room: %v", full)
	}
}
