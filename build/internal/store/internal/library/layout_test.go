package library

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// TestTheLastOptionOfANameCounts whatever the driver is called before the dot, and whatever its letters are.
func TestTheLastOptionOfANameCounts(t *testing.T) {
	all := []string{"overlay.force_mask=700", ".mountopt=nodev", "overlay2.MOUNT_PROGRAM=/old", "mount_program=/new",
		"overlay.empty=", "bare"}
	for name, want := range map[string]string{"force_mask": "700", "mountopt": "nodev", "mount_program": "/new",
		"empty": "",
		"bare":  ""} {
		if got, ok := driverOption(all, name); !ok || got != want {
			t.Errorf("%s is %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{"mask", "force_mask=700", "overlay", ""} {
		if got, ok := driverOption(all, name); ok {
			t.Errorf("%q is %q", name, got)
		}
	}
}

// TestTheProgramIsTheOneThatTheDriverHasChosen by its options, or by the note that it leaves.
func TestTheProgramIsTheOneThatTheDriverHasChosen(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	for name, test := range map[string]struct {
		options   []string
		note      string
		installed bool
		want      Program
	}{
		"the kernel":        {nil, "", true, Program{}},
		"a note against it": {nil, "false", true, Program{}},
		"a configured one": {[]string{"overlay.mount_program=/opt/fuse", "overlay.mountopt=nodev,fsync=0,noacl"}, "", false,
			Program{Path: "/opt/fuse", Options: []string{"fsync=0", "noacl"}}},
		"one that was found": {nil, "true\n", true, Program{Path: filepath.Join(bin, "fuse-overlayfs")}},
		"one that is gone":   {nil, "true", false, Program{Path: "fuse-overlayfs"}},
		"layers of others": {[]string{"overlay.mount_program=/opt/fuse", "overlay.additionallayerstore=/x"}, "", false,
			Program{Path: "/opt/fuse", ByDriver: true}},
		"only options of the kernel": {[]string{"mount_program=/opt/fuse", "mountopt=nodev,ro"}, "", false,
			Program{Path: "/opt/fuse"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, Overlay), 0o700); err != nil {
				t.Fatal(err)
			}
			if test.note != "" {
				if err := os.WriteFile(filepath.Join(root, Overlay, ".has-mount-program"), []byte(test.note), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			program := filepath.Join(bin, fuseOverlayFS)
			if err := os.Remove(program); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if test.installed {
				if err := os.WriteFile(program, nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.want, findProgram(root, test.options)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOtherOwnersOnDiskAreTold by the attribute that force_mask leaves.
func TestOtherOwnersOnDiskAreTold(t *testing.T) {
	dir := t.TempDir()
	if err := CheckOwned(dir); err != nil {
		t.Errorf("a plain directory: %v", err)
	}
	if err := unix.Lsetxattr(dir, "user.containers.override_stat", []byte("0:0:0755"), 0); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwned(dir); err == nil || !strings.Contains(err.Error(), "hint: leave --userns") {
		t.Errorf("owners in an attribute: %v", err)
	}
}

// open opens a library of its own in a directory of the test's.
func open(t *testing.T, driver string) *Library {
	t.Helper()
	root := t.TempDir()
	l, err := Open(storage.StoreOptions{GraphRoot: root, RunRoot: filepath.Join(root, "run"), GraphDriverName: driver})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Free)
	return l
}

// TestALayoutIsAsTheDriverAndTheSettingsSay for stores that stack nothing, and those of root and of others.
func TestALayoutIsAsTheDriverAndTheSettingsSay(t *testing.T) {
	for name, test := range map[string]struct {
		driver string
		given  Settings
		want   Layout
	}{
		"vfs":          {"vfs", Settings{Volatile: true}, Layout{Marks: UserMarks, Volatile: true}},
		"vfs of root":  {"vfs", Settings{Trusted: true}, Layout{Marks: TrustedMarks}},
		"options only": {"vfs", Settings{Options: []string{"mount_program=/x"}}, Layout{Marks: UserMarks}},
	} {
		l := open(t, test.driver)
		test.given.Own = l.GraphRoot()
		if l.Examine(test.given); !cmp.Equal(l.Layout, test.want) {
			t.Errorf("%s: %s", name, cmp.Diff(test.want, l.Layout))
		}
		if Of(l.Handle()) != l {
			t.Errorf("%s: the handle is another library's", name)
		}
	}
}

// TestWhatWasWrittenIsNoted and what was there already isn't.
func TestWhatWasWrittenIsNoted(t *testing.T) {
	l := open(t, "vfs")
	id, err := RandomID()
	if err != nil || !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(id) {
		t.Fatalf("%q, %v", id, err)
	}
	if other, _ := RandomID(); other == id {
		t.Error("two IDs are the same")
	}
	for n, want := range []bool{true, false} { // the second time it is there
		l.Wrote.Store(false)
		_, err := l.CreateLayer(id, "", nil, "", false, nil)
		if (err == nil) != want || err != nil && !errors.Is(err, storage.ErrDuplicateID) || l.Wrote.Load() != want {
			t.Errorf("time %d: %v, wrote: %v", n, err, l.Wrote.Load())
		}
		l.Recorded.Store(false)
		_, err = l.CreateImage(id, []string{"name"}, id, "", nil)
		if (err == nil) != want || l.Recorded.Load() != want {
			t.Errorf("time %d: %v, recorded: %v", n, err, l.Recorded.Load())
		}
	}
	for name, change := range map[string]func() error{
		"names":       func() error { return l.AddNames(id, []string{"other"}) },
		"fewer names": func() error { return l.RemoveNames(id, []string{"other"}) },
		"all names":   func() error { return l.SetNames(id, nil) },
		"an item":     func() error { return l.SetImageBigData(id, "key", []byte("x"), nil) },
	} {
		l.Recorded.Store(false)
		if err := change(); err != nil || !l.Recorded.Load() {
			t.Errorf("%s: %v, recorded: %v", name, err, l.Recorded.Load())
		}
	}
	for _, c := range []bool{false, true} { // only looked at, and done
		if gone, err := l.DeleteImage(id, c); err != nil || len(gone) != 1 || gone[0] != id {
			t.Errorf("removed: %v, %v", gone, err)
		}
		if got := l.Exists(id); got == c {
			t.Errorf("it exists: %v", got)
		}
	}
}

// TestACallRunsWhereTheStoreIsOneMount and its panic is the caller's.
func TestACallRunsWhereTheStoreIsOneMount(t *testing.T) {
	root := t.TempDir()
	driver := filepath.Join(root, Overlay)
	if err := errors.Join(os.Mkdir(driver, 0o700), os.Mkdir(filepath.Join(root, "own"), 0o700)); err != nil {
		t.Fatal(err)
	}
	// Real root's podman mounts the driver's directory over itself.
	if err := unix.Mount(driver, driver, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(driver, unix.MNT_DETACH) })
	own := filepath.Join(root, "own")
	if sameMount(own, driver) {
		t.Fatal("the two are one mount")
	}
	from, to := filepath.Join(own, "f"), filepath.Join(driver, "f")
	if err := os.WriteFile(from, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); !errors.Is(err, unix.EXDEV) {
		t.Fatalf("a rename across mounts: %v", err)
	}
	var r renaming
	if !r.join(own, root, true) {
		t.Fatal("the two can't be joined")
	}
	if err := r.run(func() error { return os.Rename(from, to) }); err != nil {
		t.Error(err)
	}
	func() {
		defer func() {
			if got := recover(); got != "broken" {
				t.Errorf("the call panics with %v", got)
			}
		}()
		_ = r.run(func() error { panic("broken") })
	}()
	// The thread goes on, for many at once.
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := r.run(func() error { return unix.ENOSPC }); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if err := (&renaming{}).run(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if new(renaming).join(filepath.Join(root, "none"), filepath.Join(root, "nothing"), false) {
		t.Error("a store that isn't there is one mount")
	}
}

// TestADirectoryIsOpenedBeneathAMountOfIt or stays as it is where that can't be.
func TestADirectoryIsOpenedBeneathAMountOfIt(t *testing.T) {
	root := t.TempDir()
	driver := filepath.Join(root, Overlay)
	layer := filepath.Join(driver, "layer")
	if err := os.MkdirAll(layer, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(driver, driver, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(driver, unix.MNT_DETACH) })
	for own, moved := range map[string]bool{root: true, "/proc": false, filepath.Join(root, "none"): false} {
		dir, err := os.Open(layer)
		if err != nil {
			t.Fatal(err)
		}
		before, err := dir.Stat()
		if err != nil {
			t.Fatal(err)
		}
		got := Beneath(own, dir)
		after, err := got.Stat()
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("beneath %s: another directory, %v", own, err)
		}
		if os.Geteuid() == 0 && (got != dir) != moved && unix.Access("/proc/1/root", unix.R_OK) == nil {
			t.Errorf("beneath %s: opened again: %v", own, got != dir)
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
	}
}
