package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAsRootASweepUnmountsWhatIsBelow(t *testing.T) {
	top := filepath.Join(t.TempDir(), "with space")
	left := filepath.Join(top, scratchPrefix+"left")
	below := filepath.Join(left, "mount", "below")
	if err := errors.Join(os.MkdirAll(filepath.Dir(below), 0o700), unix.Mount("none", filepath.Dir(below), "tmpfs", 0, ""),
		os.Mkdir(below, 0o700), unix.Mount("none", below, "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	sweep(top)
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		unmountBelow(left)
		t.Errorf("it is still there: %v", err)
	}
}

func TestASweepTakesWhatIsNotLockedAndNothingElse(t *testing.T) {
	top := t.TempDir()
	deep := filepath.Join(top, "a", "b")
	outside := t.TempDir()
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	inUse, remove, err := newScratch(deep)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(top, scratchPrefix+"left")
	other := filepath.Join(top, "cooper-doctor-other")
	link := filepath.Join(top, scratchPrefix+"link")
	file := filepath.Join(top, scratchPrefix+"file")
	for _, dir := range []string{filepath.Join(left, "store", "x"), other} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sweep(deep)
	for path, want := range map[string]bool{inUse: true, left: false, other: true, link: true, outside: true, file: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(inUse); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
