package export

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAtomicFileAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "iid")
	a, err := CreateAtomic(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("sha256:1")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before Commit: %v", err)
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	a.Abort()
	if got, err := os.ReadFile(path); err != nil || string(got) != "sha256:1" || names(t, dir) != "[iid]" {
		t.Errorf("got %q, %v in %s", got, err, names(t, dir))
	}
	if err := a.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Commit: %v", err)
	}
}

func TestAbortLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "iid")
	if err := WriteFileAtomic(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	a, err := CreateAtomic(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	a.Abort()
	a.Abort()
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" || names(t, dir) != "[iid]" {
		t.Errorf("got %q, %v in %s", got, err, names(t, dir))
	}
}

func TestReplacedFileKeepsModeAndLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("file is %v, %v", info, err)
	}
	if target, err := os.Readlink(link); err != nil || target != "file" {
		t.Errorf("link is %q, %v", target, err)
	}
}

func TestDevicesAreWrittenToNotReplaced(t *testing.T) {
	if err := WriteFileAtomic("/dev/null", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		t.Fatalf("/dev/null is %v, %v", info, err)
	}
	if err := WriteFileAtomic("/dev/full", []byte("x")); !errors.Is(err, syscall.ENOSPC) || err.Error() != "write /dev/full: no space left on device" {
		t.Errorf("got %v", err)
	}
}

func TestAtomicFileErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                             "create " + dir + ": is a directory",
		filepath.Join(dir, "no", "iid"): "create " + filepath.Join(dir, "no", "iid") + ": no such file or directory",
	} {
		if err := WriteFileAtomic(path, nil); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
