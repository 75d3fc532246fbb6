package tests_test

import (
	"errors"
	"os"
	"testing"
)

func TestAHomeThatIsNoAbsolutePathIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.env = append(s.env, "HOME=somewhere")
	s.write(t, "ctx/Containerfile", "FROM scratch\n")
	s.cooper(t, "build", "ctx").fails(t, 125, "HOME=somewhere is no absolute path", "hint: set HOME")
	if _, err := os.Lstat(s.path("somewhere")); err == nil {
		t.Error("a store was made in it")
	}
}

// TestAsRootADirectoryOfAForeignGroupIsNamed has a store where all that is made gets a group that the user can't map.
func TestAsRootADirectoryOfAForeignGroupIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.mkdir(t, "shared")
	dir := s.path("shared")
	if err := errors.Join(os.Chown(dir, s.mode.UID, 0), os.Chmod(dir, 0o755|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	s.write(t, "ctx/Containerfile", "FROM scratch\n")
	s.cooper(t, "build", "--root", dir+"/store", "ctx").fails(t, 125, "open store "+dir+"/store: "+dir+
		" has the set-group-ID bit", "chmod g-s "+dir)
	d := s.cooper(t, "doctor", "--json", "--root", dir+"/new").diagnose(t)
	d.has(t, "store", "fail", "open store "+dir+"/new: "+dir+" has the set-group-ID bit", "chmod g-s "+dir)
}
