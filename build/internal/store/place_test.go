package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"
)

// TestACallersOptionsComeFirst before those of storage.conf, and take along what depends on them.
func TestACallersOptionsComeFirst(t *testing.T) {
	const skip = "overlay.skip_mount_home=true"
	configured := storage.StoreOptions{GraphRoot: "/g", RunRoot: "/r", GraphDriverName: "vfs",
		GraphDriverOptions: []string{"vfs.x=1"}}
	for name, test := range map[string]struct {
		given Options
		want  storage.StoreOptions
	}{
		"nothing": {Options{}, configured},
		"a root": {Options{Root: "/mine"}, storage.StoreOptions{GraphRoot: "/mine", RunRoot: "/mine/run",
			GraphDriverName: "vfs", GraphDriverOptions: []string{"vfs.x=1"}}},
		"both roots": {Options{Root: "/mine", RunRoot: "/run/mine"}, storage.StoreOptions{GraphRoot: "/mine",
			RunRoot: "/run/mine", GraphDriverName: "vfs", GraphDriverOptions: []string{"vfs.x=1"}}},
		"the same driver": {Options{Driver: "vfs"}, configured},
		"another driver": {Options{Driver: "overlay"}, storage.StoreOptions{GraphRoot: "/g", RunRoot: "/r",
			GraphDriverName: "overlay", GraphDriverOptions: []string{skip}}},
		"options": {Options{Driver: "overlay", DriverOptions: []string{"overlay.mountopt=nodev"}}, storage.StoreOptions{
			GraphRoot: "/g", RunRoot: "/r", GraphDriverName: "overlay",
			GraphDriverOptions: []string{"overlay.mountopt=nodev", skip}}},
	} {
		got := configured
		if Apply(&got, test.given); !cmp.Equal(got, test.want) {
			t.Errorf("%s: %s", name, cmp.Diff(test.want, got))
		}
	}
}

// TestTheDriverOfAStoreThatOthersHaveFilledIsTheirs where nothing says which it is.
func TestTheDriverOfAStoreThatOthersHaveFilledIsTheirs(t *testing.T) {
	for has, want := range map[string]string{
		"": "overlay", "vfs": "vfs", "overlay": "overlay", "vfs overlay": "overlay", "btrfs": "", "vfs btrfs": "vfs",
	} {
		root := t.TempDir()
		for _, driver := range strings.Fields(has) {
			dir := filepath.Join(root, driver+"-layers")
			if err := errors.Join(os.Mkdir(dir, 0o700),
				os.WriteFile(filepath.Join(dir, "layers.json"), []byte("[]"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if got := usualDriver(root); got != want {
			t.Errorf("a store of %q is opened as one of %q, not %q", has, got, want)
		}
	}
}

// TestWhyAStoreCannotBeOpenedIsSaidWithTheRemedy for what the library gives.
func TestWhyAStoreCannotBeOpenedIsSaidWithTheRemedy(t *testing.T) {
	opts := storage.StoreOptions{GraphRoot: "/store", RunRoot: "/run/store"}
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"rights": {&os.PathError{Op: "mkdir", Path: "/store", Err: unix.EACCES},
			[]string{"open store /store: mkdir /store: permission denied", "/store and /run/store must be writable"}},
		"a file in the way": {&os.PathError{Op: "mkdir", Path: "/store", Err: unix.ENOTDIR},
			[]string{"it must be a directory"}},
		"the file system": {fmt.Errorf("x: %w", graphdriver.ErrIncompatibleFS),
			[]string{"install fuse-overlayfs", "--storage-driver=vfs"}},
		"an option":          {errors.New("overlay: unknown option foo"), []string{"options are KEY=VALUE"}},
		"the driver":         {errors.New("driver not supported"), []string{"--storage-driver must be"}},
		"whatever else":      {errors.New("something"), []string{"open store /store: something"}},
		"a disk that breaks": {&os.PathError{Op: "read", Path: "/store", Err: unix.EIO}, []string{"a disk fails"}},
	} {
		got := openError(opts, test.err).Error()
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q has no %q", name, got, want)
			}
		}
	}
	cause := errors.New("cause")
	if err := error(&OpenError{Problem: "p", Err: cause}); !errors.Is(err, cause) || err.Error() != "p: cause" {
		t.Errorf("got %v", err)
	}
}

// TestARootWithSeparatorsIsOpenedByItsDescriptor since the library puts the path into mount options.
func TestARootWithSeparatorsIsOpenedByItsDescriptor(t *testing.T) {
	for _, name := range []string{"plain", "a:b", "a,b", `a\b`, `a"b`, "a b"} {
		root := filepath.Join(t.TempDir(), name)
		got, dir, err := withPlainRoot(storage.StoreOptions{GraphRoot: root})
		if err != nil {
			t.Fatal(err)
		}
		replaced := strings.ContainsAny(name, `:,\"`)
		if (dir != nil) != replaced || strings.ContainsAny(got.GraphRoot, `:,\"`) {
			t.Errorf("%s is opened as %s", root, got.GraphRoot)
		}
		if replaced {
			is, errIs := os.Stat(got.GraphRoot)
			was, errWas := os.Stat(root)
			if errors.Join(errIs, errWas) != nil || !os.SameFile(is, was) {
				t.Errorf("%s is another directory than %s", got.GraphRoot, root)
			}
		}
		if err := closeFile(dir); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, dir, err := withPlainRoot(storage.StoreOptions{GraphRoot: file + "/a:b"}); err == nil || dir != nil {
		t.Errorf("a store below a file: %v, %v", dir, err)
	}
}

// TestADirectoryThatHandsOnAForeignGroupIsNamed the uppermost one.
func TestADirectoryThatHandsOnAForeignGroupIsNamed(t *testing.T) {
	top := t.TempDir()
	shared := filepath.Join(top, "shared")
	deep := filepath.Join(shared, "user", "store")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := foreignGroup(deep); got != "" {
		t.Errorf("%s is told of", got)
	}
	const nobody = 65534
	for _, dir := range []string{shared, filepath.Join(shared, "user"), deep} {
		if err := errors.Join(os.Chown(dir, -1, nobody), os.Chmod(dir, 0o755|os.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{deep, filepath.Join(deep, "not", "there")} {
		if got := foreignGroup(path); got != shared {
			t.Errorf("%s: %q, not %q", path, got, shared)
		}
	}
}

// TestADirectoryCanBeMadeWhereItsNearestParentIsWritable and only there.
func TestADirectoryCanBeMadeWhereItsNearestParentIsWritable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		dir: true, filepath.Join(dir, "a", "b"): true, file: false, filepath.Join(file, "a"): false,
		"/proc/self/nothing": false, "relative/path/that/is/not/there": false,
	} {
		if got := CanMake(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// TestNothingIsInheritedFromAboveTheStore puts a default access control list on every directory that layers are made
// in.
func TestNothingIsInheritedFromAboveTheStore(t *testing.T) {
	// user::rwx, group::r-x, other::r-x, as the kernel has it.
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255,
		255}
	const name = "system.posix_acl_default"
	o := Options{Root: t.TempDir(), Driver: "vfs"}
	if err := unix.Lsetxattr(o.Root, name, acl, 0); errors.Is(err, unix.ENOTSUP) {
		t.Fatal("the tests need a file system with access control lists in TMPDIR")
	} else if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, dir := range []string{"vfs", "vfs/dir", "cooper", "cooper/tmp"} {
		if _, err := unix.Lgetxattr(filepath.Join(o.Root, dir), name, make([]byte, 256)); err == nil {
			t.Errorf("%s hands a list on", dir)
		}
	}
	if _, err := unix.Lgetxattr(o.Root, name, make([]byte, 256)); err != nil {
		t.Errorf("the list of the store's own directory, which is the user's, is gone: %v", err)
	}
}
