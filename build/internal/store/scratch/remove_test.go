package scratch

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMakeOpenLeavesWhatLinksLeadToAlone(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	for _, make := range []error{
		os.Chmod(outside, 0o550), os.Mkdir(filepath.Join(dir, "a"), 0), os.Symlink(outside, filepath.Join(dir, "b")),
		makeOpen(dir),
	} {
		if make != nil {
			t.Fatal(make)
		}
	}
	for path, want := range map[string]os.FileMode{outside: 0o550, filepath.Join(dir, "a"): 0o700} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want mode %o (%v)", path, info.Mode(), want, err)
		}
	}
	// As if a directory that was just listed had been exchanged for a link.
	if err := makeOpen(filepath.Join(dir, "b")); err == nil {
		t.Error("a link was followed")
	}
	if info, err := os.Lstat(outside); err != nil || info.Mode().Perm() != 0o550 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
