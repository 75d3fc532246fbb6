package outfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestADirectoryAppearsWhole(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "a", "b", "out")
	if _, err := OpenDir(path, false); !errors.Is(err, fs.ErrNotExist) || err.Error() != "create "+path+
		": no such file or directory" {
		t.Errorf("without those above it: %v", err)
	}
	d, err := OpenDir(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if d.There() || !IsTemp(d.TempName()) {
		t.Errorf("there %v, by the name %s", d.There(), d.TempName())
	}
	if err := os.WriteFile(d.Temp()+"/f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the end: %v", err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	d.Close()
	holds(t, path+"/f", "x")
	if got := names(t, filepath.Dir(path)); got != "[out]" {
		t.Errorf("beside it there is %s", got)
	}
}

func TestADirectoryThatIsGivenUpLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	d, err := OpenDir(filepath.Join(parent, "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(d.Temp()+"/a/b", 0o500), os.Symlink("/", d.Temp()+"/link"),
		os.Rename(parent, parent+".moved")); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if got := names(t, parent+".moved"); got != "[]" {
		t.Errorf("left behind: %s", got)
	}
}

func TestADirectoryThatIsThereHoldsTheTemporaryOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/kept", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !d.There() || got != "["+d.TempName()+" kept]" {
		t.Errorf("there %v: %s", d.There(), got)
	}
	if got, err := filepath.EvalSymlinks(d.Path()); err != nil || got != dir {
		t.Errorf("it is %s, %v", got, err)
	}
	d.Close()
	if got := names(t, dir); got != "[kept]" {
		t.Errorf("left behind: %s", got)
	}
}

func TestADirectoryThatSomebodyElseHasMadeStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	d, err := OpenDir(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(path+"/theirs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); !errors.Is(err, fs.ErrExist) || !strings.HasPrefix(err.Error(), "create "+path+": ") {
		t.Errorf("got %v", err)
	}
	d.Close()
	if got := names(t, filepath.Dir(path)) + names(t, path); got != "[out][theirs]" {
		t.Errorf("there is %s", got)
	}
}

func TestAFileIsNoDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := WriteFile(t.Context(), path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path, true); !errors.Is(err, unix.ENOTDIR) ||
		err.Error() != "create "+path+": not a directory: there is a file" {
		t.Errorf("got %v", err)
	}
	if _, err := OpenDir(path+"/below", true); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below it: %v", err)
	}
	if _, err := MakeDir(path); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("to be made: %v", err)
	}
	if got := names(t, filepath.Dir(path)); got != "[file]" {
		t.Errorf("there is %s", got)
	}
}

func TestADirectoryIsMadeByOneOfMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "c")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			dir, err := MakeDir(path)
			if err != nil {
				t.Error(err)
				return
			}
			var st unix.Stat_t
			if err := unix.Fstat(int(dir.Fd()), &st); err != nil || st.Mode != unix.S_IFDIR|0o700 {
				t.Errorf("mode %o, %v", st.Mode, err)
			}
			if err := dir.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// TestNoDescriptorStaysOpen goes the ways that fail as well as those that don't.
func TestNoDescriptorStaysOpen(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Symlink("loop", dir+"/loop"), os.Symlink(dir+"/file", dir+"/link"),
		os.Mkdir(dir+"/d", 0o755)); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := count()
	for _, path := range []string{"file", "link", "loop", "no/x", "file/x", "d", "d/", "d/../file", "loop/x"} {
		_ = WriteFile(t.Context(), dir+"/"+path, nil)
		if f, err := Create(t.Context(), dir+"/"+path); err == nil {
			f.Abort()
		}
		if d, err := OpenDir(dir+"/"+path, false); err == nil {
			d.Close()
		}
		if d, err := MakeDir(dir + "/" + path); err == nil {
			_ = d.Close()
		}
	}
	for _, path := range []string{"/dev/null", "/dev/fd/0", "/proc/self/fd/1/x"} {
		if f, err := Create(t.Context(), path); err == nil {
			f.Abort()
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors are open, it were %d", after, before)
	}
}
