package overlay_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/usertest"
)

// TestMain has root run the tests twice, for much is another's in a user namespace.
func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }

func inside() bool { return !asroot.Real() }

func dir(t *testing.T, path string) *os.File {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readAt(t *testing.T, root *os.File, path string) string {
	t.Helper()
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	buf := make([]byte, 100)
	n, _ := unix.Read(fd, buf)
	return string(buf[:n])
}

func writeAt(root *os.File, path, text string) error {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC | unix.O_CLOEXEC, Mode: 0o644, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// fixture is three layers, an upper and a work directory.
func fixture(t *testing.T) (string, overlay.Options) {
	t.Helper()
	base := t.TempDir()
	write(t, base+"/l1/etc/a", "a1")
	write(t, base+"/l1/etc/b", "b1")
	write(t, base+"/l2/etc/b", "b2")
	write(t, base+"/l3/c", "c3")
	return base, overlay.Options{
		Lower:     []*os.File{dir(t, base+"/l3"), dir(t, base+"/l2"), dir(t, base+"/l1")},
		UserXattr: inside(),
	}
}

func checkView(t *testing.T, root *os.File) {
	t.Helper()
	for path, want := range map[string]string{"etc/a": "a1", "etc/b": "b2", "c": "c3"} {
		if got := readAt(t, root, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestViewShowsTopmostFile(t *testing.T) {
	before := mounts(t)
	_, o := fixture(t)
	mount := map[string]func(overlay.Options) (*os.File, error){"": overlay.Mount,
		" by the way of older kernels": overlay.MountPrivately, " by the classic call": overlay.MountClassic}
	for name, mount := range mount {
		t.Run("view"+name, func(t *testing.T) {
			root, err := mount(o)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			checkView(t, root)
			if err := writeAt(root, "etc/a", "x"); !errors.Is(err, unix.EROFS) {
				t.Errorf("write to a view: %v", err)
			}
			if after := mounts(t); after != before {
				t.Errorf("mount table changed:\n%s", after)
			}
		})
	}
}

// mounts is what may be ours in the mount table: others mount things, too, while this runs.
func mounts(t *testing.T) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, "/proc/self/fd") || strings.Contains(line, "TestViewShows") {
			own = append(own, line)
		}
	}
	return strings.Join(own, "")
}

func TestUpperTakesChanges(t *testing.T) {
	for name, mount := range map[string]func(overlay.Options) (*os.File, error){"": overlay.Mount,
		" by the way of older kernels": overlay.MountPrivately, " by the classic call": overlay.MountClassic} {
		t.Run("upper"+name, func(t *testing.T) {
			base, o := fixture(t)
			o.Upper, o.Work, o.Volatile = dir(t, base+"/upper"), dir(t, base+"/work"), true
			root, err := mount(o)
			if err != nil {
				t.Fatal(err)
			}
			checkView(t, root)
			if err := writeAt(root, "etc/b", "new"); err != nil {
				t.Fatal(err)
			}
			if err := unix.Unlinkat(int(root.Fd()), "c", 0); err != nil {
				t.Fatal(err)
			}
			root.Close()
			if b, _ := os.ReadFile(base + "/upper/etc/b"); string(b) != "new" {
				t.Errorf("upper has %q", b)
			}
			var st unix.Stat_t
			if err := unix.Lstat(base+"/upper/c", &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
				t.Errorf("no whiteout: %v %o", err, st.Mode)
			}
			if b, _ := os.ReadFile(base + "/l2/etc/b"); string(b) != "b2" {
				t.Errorf("lower changed: %q", b)
			}
		})
	}
}
